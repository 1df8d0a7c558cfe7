"""What is asked all the time, or under the write lock, reads no whole table: SQLite's plans say so."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import add_decision, correction, general
from sqlite_utils.db import Database

from store import commands, examples, retention, status, versions
from store.database import FILE_NAME, Store, open_store
from store.migrations import migrations
from store.retention import Cutoffs

OLD_CONVERSATIONS = Cutoffs(**(dict.fromkeys(Cutoffs._fields) | {"conversations": 10}))


@pytest.fixture
def migrated(tmp_path: Path) -> Store:
    """A store that was made by the first migration alone, and then opened by this release."""
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.row_factory = sqlite3.Row
    database = Database(connection)
    migrations.apply(database, stop_before=[one.name for one in migrations.pending(database)[1:]])
    connection.isolation_level = None
    old = Store(connection, tmp_path / FILE_NAME)
    with old:
        decision = add_decision(old)
        with old.write() as writing:
            examples.insert(writing, correction("e1", decision), 4)
            examples.insert(writing, general("g1"), 0)
    return open_store(tmp_path)


def schema(store: Store) -> set[tuple[str | None, ...]]:
    return {tuple(row) for row in store.rows("SELECT type, name, tbl_name, sql FROM sqlite_master")}


def plan(store: Store, work: Callable[[], object]) -> list[str]:
    """Return the steps of the plans of all that some work asks."""
    asked: list[str] = []
    store.connection.set_trace_callback(asked.append)
    work()
    store.connection.set_trace_callback(None)
    queries = [sql for sql in asked if sql.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE"))]
    return [row["detail"] for sql in queries for row in store.rows(f"EXPLAIN QUERY PLAN {sql}")]


def whole_tables(steps: list[str]) -> list[str]:
    return [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]


def test_an_old_store_becomes_like_a_new_one_and_keeps_its_rows(migrated: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "new") as new:
        assert schema(migrated) == schema(new)
    assert [usable.example.id for usable in examples.pending(migrated)] == ["e1"]
    assert [usable.example.id for usable in examples.general(migrated, 8)] == ["g1"]


def test_the_queues_of_the_status_are_counted_in_indexes_alone(migrated: Store) -> None:
    steps = plan(migrated, lambda: status.queues(migrated))
    assert [step for step in steps if "INDEX" in step and "waiting" in step] == [
        "SCAN corrections USING INDEX corrections_waiting",
        "SCAN opinions_waiting USING COVERING INDEX opinions_waiting_by_decision",
        "SCAN commands USING INDEX commands_waiting",
    ]
    for index in ("examples_by_state", "step_rows_by_example"):
        assert {"COVERING" in step for step in steps if index in step} == {True}
    assert "SCAN steps USING INDEX steps_that_do_not_count" in steps
    assert set(whole_tables(steps)) == {"SCAN CONSTANT ROW"}


@pytest.mark.parametrize(
    ("asks", "index"),
    [
        (examples.pending, "examples_by_state (kind=? AND state=?)"),
        (examples.needing_pair, "examples_by_state (kind=? AND state=?)"),
        (
            lambda store: list(examples.ordinary_answers(store.connection, 9)),
            "examples_by_state (kind=? AND state=?)",
        ),
        (lambda store: examples.general(store, 9), "examples_for_replay (kind=? AND state=? AND origin=?)"),
        (examples.newest_waiting, "COVERING INDEX examples_by_state"),
        (commands.waiting, "commands_waiting"),
    ],
)
def test_an_idle_second_of_the_learner_sorts_nothing(
    migrated: Store, asks: Callable[[Store], object], index: str
) -> None:
    steps = plan(migrated, lambda: asks(migrated))
    assert any(index in step for step in steps)
    assert not [step for step in steps if "TEMP B-TREE" in step]
    assert not whole_tables(steps)


def test_a_conversation_that_goes_is_found_by_indexes_with_all_that_refers_to_it(migrated: Store) -> None:
    add_decision(migrated, "t2", "plain")
    steps = plan(migrated, lambda: retention.sweep(migrated, OLD_CONVERSATIONS, 9))
    for index in (
        *(f"{table}_by_conversation" for table in ("corrections", "directions", "decisions")),
        *(f"{table}_by_direction" for table in ("labels", "votes", "decision_directions")),
        "opinions_waiting_by_decision",
    ):
        assert any(f"INDEX {index} " in step for step in steps), index
    assert not whole_tables(steps)
    assert migrated.row("SELECT 1 FROM decisions WHERE conversation_id = 'plain'") is None


def test_the_line_of_a_version_is_read_without_the_others(store: Store) -> None:
    base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
    child = versions.new_version(base, "train", first_step=1, last_step=2, file=None, fingerprint="g")
    unwritten = versions.new_version(child, "train", first_step=3, last_step=4, file=None, fingerprint="h")
    with store.write() as connection:
        for version in (base, child):
            versions.add(connection, version)
    steps = plan(store, lambda: versions.path(store, unwritten))
    assert versions.path(store, unwritten) == [unwritten, child, base]
    assert not [step for step in steps if step.startswith(("SCAN v", "SCAN versions"))]
