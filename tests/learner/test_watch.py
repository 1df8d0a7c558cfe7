"""Where the watch goes back to, what it keeps for that, and which directions it looks at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_system import System, learned_system, record_probes

from learner.probing.material import ProbeMaterial
from learner.probing.suite import ProbeSuite
from learner.versioning.retire import retire
from learner.watch import Watch
from policies.config import GuardConfig
from policies.evidence import Detector
from policies.example import Example
from policies.guard import Judgement
from store import evidence, examples, steps, versions
from store.versions import Version

FEW = GuardConfig(keep_versions=2, keep_daily=0, keep_weekly=0)


@pytest.fixture
def system(smollm2_path: Path, tmp_path: Path) -> Iterator[System]:
    """A learner that has learned all there is, in a few versions."""
    system = learned_system(tmp_path, smollm2_path)
    yield system
    system.close()


def state_of(system: System, version: Version) -> str:
    return versions.require(system.store, version.id).state


def direction_of(system: System, example_id: str) -> str | None:
    example = examples.get(system.store, example_id)
    return None if example is None else example.direction


def correction(example_id: str, direction: str) -> Example:
    context = ({"role": "user", "content": f"What is a lake? {direction}"},)
    return Example(
        id=example_id,
        kind="correction",
        direction=direction,
        context=context,
        chosen="Water.",
        origin="correction",
    )


def test_a_breach_goes_back_before_its_evidence_even_where_that_version_is_retired(system: System) -> None:
    base, first, second, *_, newest = versions.every(system.store)
    watch = Watch(system.store, FEW, system.rounds._suite)
    found = Judgement(breach=True, reasons=("nll",), broken=("nll",), since=second.id)
    assert watch.target(found, system.lineage) == second

    open_one, closed = Detector(logs=(0.5,) * 4, since=second.id), Detector(logs=(-0.5,) * 4, since=first.id)
    with system.store.write() as connection:
        evidence.remember(connection, newest.id, {"nll": open_one, "facts": closed})
    retire(system.store, system.archive, FEW)
    assert [state_of(system, one) for one in (first, second)] == ["dropped", "good"]
    assert watch.target(found, system.lineage) == second

    with system.store.write() as connection:
        evidence.forget(connection)
    retire(system.store, system.archive, FEW)
    assert state_of(system, second) == "dropped"
    target = watch.target(found, system.lineage)
    assert target == base  # not the version in force, which has what the evidence is about
    assert system.lineage.roll_back(target, "breach").bit_for_bit
    elsewhere = found.model_copy(update={"since": "no version"})
    assert watch.target(elsewhere, system.lineage) == system.lineage.version


def test_each_of_ten_directions_is_looked_at_within_a_few_checks(system: System) -> None:
    rules = [f"Rule {number}." for number in range(9)]  # beside the one that was learned
    with system.store.write() as connection:
        for place, rule in enumerate(rules):
            examples.insert(connection, correction(f"r{place}", rule), quota=1)
            rows = [("correction", f"r{place}"), ("general", "g0")]
            step = steps.begin(connection, system.lineage.version.id, 1e-4, rows)
            steps.confirm(connection, step, loss=1, row_losses=[1, 1], seconds=1, changed_bytes=1, detail={})
    model, tokenizer = system.model, system.tokenizer
    nothing = ProbeMaterial(facts=(), texts=(), prompts=())
    watch = Watch(system.store, FEW, ProbeSuite(model, model, tokenizer, nothing, lambda *_: True, 2))
    looked_at: set[str | None] = set()
    for _ in range(5):
        run, judged = watch.look(system.lineage.version.id)
        assert len(run.scores["follow"]) == 8
        assert not judged.breach
        looked_at |= {direction_of(system, name) for name in run.scores["follow"]}
        record_probes(system.store, "accept", run.scores)
    assert looked_at == {*rules, "Answer in capitals."}
