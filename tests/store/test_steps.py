"""Steps: intent, confirmation, and undoing."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import examples, status, steps, versions
from store.database import Store, open_store
from tests.store.rows import add_decision, correction, general


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = open_store(tmp_path)
    add_decision(opened)
    with opened.write() as connection:
        base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
        versions.add(connection, base)
        examples.upsert_correction_example(connection, correction("e", "t1#0"), 4)
        examples.add_general_example(connection, general("g"))
    return opened


def begin(store: Store) -> int:
    version = versions.in_force(store)
    assert version is not None
    rows = [("correction", "e"), ("correction", "e"), ("twin", "e"), ("general", "g")]
    with store.write() as connection:
        return steps.begin(connection, version.id, 2e-4, rows)  # type: ignore[arg-type]


def confirm(store: Store, step: int) -> None:
    with store.write() as connection:
        steps.confirm(
            connection, step, loss=0.5, row_losses=[1, 2, 3, 4], seconds=1, changed_bytes=4, detail={"a": 1}
        )


def test_an_intent_is_unfinished_until_confirmed(store: Store) -> None:
    step = begin(store)
    assert steps.unfinished(store) == [step]
    assert steps.last_confirmed(store) == 0
    confirm(store, step)
    assert steps.unfinished(store) == []
    assert steps.last_confirmed(store) == steps.last(store) == step
    losses = [row["loss"] for row in store.rows("SELECT loss FROM step_rows ORDER BY slot")]
    assert losses == [1, 2, 3, 4]


def test_the_replay_share_is_stored_and_summed_from_the_rows(store: Store) -> None:
    step = begin(store)
    confirm(store, step)
    row = store.row("SELECT replay_share FROM steps WHERE id = ?", (step,))
    assert row is not None
    assert row["replay_share"] == 0.25
    assert status.replay_share(store) == 0.25


def test_a_dropped_step_counts_against_its_corrections_only(store: Store) -> None:
    step = begin(store)
    with store.write() as connection:
        steps.drop(connection, step, "loss nan", 1.0)
        assert steps.drops_of(connection, "e") == 1
        assert steps.drops_of(connection, "g") == 0
    assert steps.last_confirmed(store) == 0
    assert steps.unfinished(store) == []


def test_undoing_takes_confirmed_and_open_steps_but_not_dropped_ones(store: Store) -> None:
    first, second, third = begin(store), begin(store), begin(store)
    confirm(store, first)
    confirm(store, second)
    with store.write() as connection:
        assert steps.undo_after(connection, first, "rolled_back") == ["e"]
    states = {row["id"]: row["state"] for row in store.rows("SELECT id, state FROM steps")}
    assert states == {first: "confirmed", second: "rolled_back", third: "rolled_back"}
    assert steps.confirmed_after(store, 0) == 1
