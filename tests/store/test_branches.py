from __future__ import annotations

from store import applications, branches, versions
from store.applications import Application
from store.database import Store
from store.versions import Version


def version(store: Store, parent: Version | None, kind: versions.VersionKind = "train") -> Version:
    made = versions.new_version(parent, kind, first_step=None, last_step=0, file=None, fingerprint="f")
    with store.write() as connection:
        versions.add(connection, made)
    return made


def test_the_branch_that_is_checked_out_moves_and_others_stay(store: Store) -> None:
    base = version(store, None, "base")
    assert branches.current(store) == "main"
    with store.write() as connection:
        branches.settle(connection, "main", base)
        branches.put(connection, "terse", base.id)
    first = version(store, base)
    with store.write() as connection:
        branches.switch(connection, "terse")
    second = version(store, base)
    assert {b.name: b.version_id for b in branches.every_branch(store)} == {
        "main": first.id,
        "terse": second.id,
    }
    assert [v.id for v in versions.path(store, second)] == [second.id, base.id]


def test_a_vector_is_in_the_weights_from_its_addition_to_its_removal_on_that_line_only(store: Store) -> None:
    base = version(store, None, "base")
    added = version(store, base, "vector")
    trained = version(store, added)
    removed = version(store, trained, "vector")
    beside = version(store, base)
    with store.write() as connection:
        applications.add(
            connection, Application(version_id=added.id, vector="json", vector_id="1", scale=0.5)
        )
        applications.add(
            connection,
            Application(version_id=removed.id, vector="json", vector_id="1", scale=-0.5, undoes=added.id),
        )
    assert [a.vector for a in applications.in_weights(store, trained)] == ["json"]
    assert applications.in_weights(store, removed) == []
    assert applications.in_weights(store, beside) == []


def test_a_vector_that_was_added_twice_counts_twice_until_one_is_taken_out(store: Store) -> None:
    line = [version(store, None, "base")]
    for undoes in (None, None, 1):
        line.append(version(store, line[-1], "vector"))
        undone = None if undoes is None else line[undoes].id
        done = Application(version_id=line[-1].id, vector="json", vector_id="1", scale=0.5, undoes=undone)
        with store.write() as connection:
            applications.add(connection, done)
    inside = applications.in_each(applications.every(store), versions.every(store))
    assert [applications.scales(inside[one.id]).get("json") for one in line] == [None, 0.5, 1.0, 0.5]
    assert {one.id: applications.in_weights(store, one) for one in line} == inside
