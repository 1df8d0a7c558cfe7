"""The quarantine: why, how far, and that only a word, or the search for the cause, brings back."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.config import GuardConfig
from policies.example import Example
from store import backoff, examples, forgetting, probes, quarantine
from store.database import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = open_store(tmp_path / "home")
    with opened.write() as connection:
        for name, parent in (("a", None), ("a~01", "a"), ("b", None)):
            example = Example(
                id=name,
                kind="correction",
                direction=f"Rule {name[0]}.",
                context=({"role": "user", "content": "Why?"},),
                chosen="So.",
                origin="correction" if parent is None else "rehearsal:repair",
                parent=parent,
            )
            examples.insert(connection, example, quota=4)
    return opened


def state_of(store: Store, name: str) -> str:
    row = store.row("SELECT state FROM examples WHERE id = ?", (name,))
    assert row is not None
    return str(row["state"])


def test_a_rehearsal_takes_its_correction_with_it_and_both_wait_for_a_word(store: Store) -> None:
    with store.write() as connection:
        assert examples.quarantine(connection, ["a~01"], "leak worse", {"a": 0.9}) == 1
    assert (state_of(store, "a"), state_of(store, "a~01"), state_of(store, "b")) == (
        "quarantined",
        "quarantined",
        "ready",
    )
    [row] = quarantine.waiting(store)
    assert (row["id"], row["reason"], row["score"], row["rehearsals"]) == ("a", "leak worse", 0.9, 1)
    assert [usable.example.id for usable in examples.pending(store)] == ["b"]
    with store.write() as connection:
        assert quarantine.decide(connection, "a", "released")
        assert not quarantine.decide(connection, "a", "released")
    assert [usable.example.id for usable in examples.pending(store)] == ["a", "a~01", "b"]
    assert quarantine.waiting(store) == []


def test_what_is_dropped_never_trains(store: Store) -> None:
    with store.write() as connection:
        examples.quarantine(connection, ["a"], "x")
        quarantine.decide(connection, "a", "dropped")
        assert not quarantine.decide(connection, "a", "released")
    assert [usable.example.id for usable in examples.pending(store)] == ["b"]


def test_the_innocent_wait_again_with_their_quota_once(store: Store) -> None:
    for free in (1, 0):
        with store.write() as connection:
            examples.quarantine(connection, ["a", "b"], "breach")
            assert quarantine.acquit(connection, {"a": 1.0, "b": 0.1}, ["a"]) == free
    assert [row["score"] for row in quarantine.waiting(store)] == [1.0, 0.1]


def test_the_learning_rate_backs_off_and_recovers(store: Store) -> None:
    config = GuardConfig(backoff=0.25, recovery=2.0)
    factors = [backoff.factor(store)]
    for change in (backoff.back_off, backoff.recover, backoff.recover, backoff.recover):
        with store.write() as connection:
            change(connection, store, config)
        factors.append(backoff.factor(store))
    assert factors == [1.0, 0.25, 0.5, 1.0, 1.0]


def test_forgetting_shows_each_direction_at_each_check(store: Store) -> None:
    for score in ({"a": 1.0}, {"a": 0.0, "b": 1.0}):
        with store.write() as connection:
            probes.add(
                connection,
                step_id=1,
                version_id=None,
                verdict="accept",
                reason="",
                seconds=1,
                scores={"follow": score, "facts": {"q": 1.0, "r": 0.0}},
            )
    found = forgetting.matrix(store)
    assert found["directions"] == ["Rule a.", "Rule b."]
    assert [stage["follow"] for stage in found["stages"]] == [
        {"Rule a.": [1.0, 1]},
        {"Rule a.": [0.0, 1], "Rule b.": [1.0, 1]},
    ]
    assert [stage["general"] for stage in found["stages"]] == [{"facts": 0.5}] * 2
    assert found["backward_transfer"] == -1.0
    assert probes.best_follow(store) == {"follow": {"a": 1.0, "b": 1.0}}
