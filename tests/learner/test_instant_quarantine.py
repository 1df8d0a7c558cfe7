"""Instant vectors of examples in quarantine: off with them, back with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
import torch
from small_system import CORRECTIONS, unmatchable_baseline
from steering_bench import Bench, steering_bench

from learner.steering.instant import InstantLayer
from policies.config import SteeringConfig
from store import examples, quarantine, versions


@pytest.fixture
def bench(model_dir: Path, tmp_path: Path, owner: Any) -> Iterator[Bench]:
    with steering_bench(model_dir, tmp_path, owner.process.pid) as opened:
        yield opened


def made_of(bench: Bench) -> set[str]:
    """The examples in what is on."""
    return {name for slot in bench.live.slots() for name in bench.instant._made_of(slot)}


def test_a_vector_of_what_is_quarantined_goes_off_and_comes_back_with_it(bench: Bench) -> None:
    bench.instant.look()
    added, bad = bench.rows(), sorted(made_of(bench))
    assert len(bad) == 4
    every = [example.id for example in examples.ready(bench.system.store)]
    with bench.system.store.write() as connection:
        examples.quarantine(connection, every, "by hand")
    bench.instant.look()
    assert bench.silent()
    version = versions.in_force(bench.system.store)
    assert version is not None
    assert "in quarantine" in version.note
    told = "SELECT payload FROM outbox WHERE payload LIKE '%alert%in quarantine%'"
    assert [bad[0] in row["payload"] for row in bench.system.store.rows(told)] == [True]
    bench.instant.look()
    assert versions.in_force(bench.system.store) == version, "said and done once"
    with bench.system.store.write() as connection:
        for name in every:
            quarantine.decide(connection, name, "released")
    bench.instant.look()
    assert torch.equal(bench.rows(), added)


@pytest.mark.parametrize("take_out", [examples.quarantine, examples.hold])
def test_one_bad_example_leaves_the_vector_of_the_others(
    bench: Bench, take_out: Callable[[Connection, list[str], str], object]
) -> None:
    bench.instant.look()
    bad = max(made_of(bench))
    with bench.system.store.write() as connection:
        take_out(connection, [bad], "by hand")
    bench.instant.look()
    assert len(made_of(bench)) == 4
    assert bad not in made_of(bench)


def test_a_learner_that_starts_anew_without_the_layer_lets_go_too(bench: Bench) -> None:
    bench.instant.look()
    bad = min(made_of(bench))
    with bench.system.store.write() as connection:
        examples.quarantine(connection, [bad], "by hand")
        quarantine.decide(connection, bad, "dropped")
    old = bench.instant
    parts = (old._live, old._vectors, old._model, old._tokenizer, old._general)
    InstantLayer(bench.system.store, SteeringConfig(auto=False), *parts).look()
    assert bench.silent()


def test_a_breach_takes_the_vector_of_its_cause_with_it(bench: Bench) -> None:
    bench.system.rounds.measure("baseline")
    unmatchable_baseline(bench.system.store, 1e-9)
    bench.instant._config = SteeringConfig(auto=True, most_pairs=CORRECTIONS)
    bench.instant.look()
    on = made_of(bench)
    bench.system.rounds.run(lambda: False)
    bench.live.follow()
    assert made_of(bench) == on, "the rollback goes to the version that switched it on"
    bad = {row["id"] for row in quarantine.waiting(bench.system.store)}
    assert bad
    assert bad < on
    bench.instant._config = SteeringConfig(auto=False)  # none is made in its place
    bench.instant.look()
    assert bench.silent()
