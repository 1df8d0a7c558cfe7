"""Examples: trust, uses, and what quarantine means."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import examples, steps, versions
from store.database import Store, open_store
from tests.store.rows import add_decision, correction, general


@pytest.fixture
def filled(tmp_path: Path) -> Store:
    store = open_store(tmp_path)
    add_decision(store)
    base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
    with store.write() as connection:
        versions.add(connection, base)
    return store


def train(store: Store, example_id: str, state: str = "confirmed") -> int:
    version = versions.in_force(store)
    assert version is not None
    with store.write() as connection:
        step = steps.begin(connection, version.id, 1e-4, [("correction", example_id), ("general", "g")])
        if state == "confirmed":
            steps.confirm(
                connection, step, loss=1.0, row_losses=[1.0, 0.5], seconds=1, changed_bytes=8, detail={}
            )
    return step


def test_the_more_trusted_word_on_a_decision_wins(filled: Store) -> None:
    with filled.write() as connection:
        assert examples.upsert_correction_example(connection, correction("e1", "t1#0", "repair"), 4)
        assert examples.upsert_correction_example(connection, correction("e2", "t1#0", "correction"), 4)
        assert not examples.upsert_correction_example(connection, correction("e3", "t1#0", "repair"), 4)
    assert [usable.example.id for usable in examples.pending(filled)] == ["e2"]


def test_a_person_may_change_their_mind_but_the_same_word_again_changes_nothing(filled: Store) -> None:
    with filled.write() as connection:
        assert examples.upsert_correction_example(connection, correction("e1", "t1#0"), 4)
        assert not examples.upsert_correction_example(connection, correction("e2", "t1#0"), 4)
        other = correction("e3", "t1#0").model_copy(update={"chosen": "hi."})
        assert examples.upsert_correction_example(connection, other, 4)
    assert [usable.example.id for usable in examples.pending(filled)] == ["e3"]


def test_an_example_waits_until_its_quota_is_confirmed(filled: Store) -> None:
    with filled.write() as connection:
        examples.upsert_correction_example(connection, correction("e1", "t1#0"), 2)
        examples.add_general_example(connection, general("g"))
    train(filled, "e1")
    assert [(u.example.id, u.uses, u.quota) for u in examples.pending(filled)] == [("e1", 1, 2)]
    train(filled, "e1", state="intent")
    assert examples.pending(filled)[0].uses == 1
    train(filled, "e1")
    assert examples.pending(filled) == []
    assert [example.id for example in examples.learned(filled)] == ["e1"]


def test_an_undone_step_gives_its_uses_back(filled: Store) -> None:
    with filled.write() as connection:
        examples.upsert_correction_example(connection, correction("e1", "t1#0"), 1)
        examples.add_general_example(connection, general("g"))
    step = train(filled, "e1")
    assert examples.pending(filled) == []
    with filled.write() as connection:
        assert steps.undo_after(connection, step - 1, "redo") == ["e1"]
    assert examples.pending(filled)[0].uses == 0


def test_what_is_quarantined_never_comes_back(filled: Store) -> None:
    with filled.write() as connection:
        examples.upsert_correction_example(connection, correction("e1", "t1#0", "repair"), 4)
        assert examples.quarantine(connection, ["e1", "e1", "unknown"]) == 1
        assert not examples.upsert_correction_example(connection, correction("e2", "t1#0", "correction"), 4)
    assert examples.pending(filled) == []


def test_general_rows_count_their_own_uses(filled: Store) -> None:
    with filled.write() as connection:
        examples.upsert_correction_example(connection, correction("e1", "t1#0"), 4)
        assert examples.add_general_example(connection, general("g"))
        assert not examples.add_general_example(connection, general("g"))
    train(filled, "e1")
    assert [(u.example.id, u.uses) for u in examples.general(filled, 10)] == [("g", 1)]


def test_the_agents_own_system_turns_are_found_without_what_was_learned(filled: Store) -> None:
    plain = {"role": "system", "content": "Be kind."}
    asked = {"role": "user", "content": "Hi"}
    taught = correction("e1", "t1#0").model_copy(
        update={
            "context": ({**plain, "content": "Be kind. Use JSON."}, asked),
            "twin_context": (plain, asked),
        }
    )
    ordinary = general("o1").model_copy(update={"origin": "ordinary", "context": (asked,)})
    with filled.write() as connection:
        examples.upsert_correction_example(connection, taught, 4)
        examples.add_general_example(connection, ordinary)
        examples.add_general_example(connection, general("g"))
    assert examples.plain_systems(filled, 2) == ["Be kind."]


def test_a_pair_that_nobody_confirms_is_refused(filled: Store) -> None:
    waiting = correction("e1", "t1#0", "few_shot", "needs_pair").model_copy(update={"chosen": None})
    with filled.write() as connection:
        examples.upsert_correction_example(connection, waiting, 4)
    assert [example.id for example in examples.needing_pair(filled)] == ["e1"]
    with filled.write() as connection:
        examples.complete_pair(connection, "e1", None, "few_shot")
    assert examples.needing_pair(filled) == []
    assert examples.pending(filled) == []
