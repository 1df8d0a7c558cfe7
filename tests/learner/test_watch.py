"""What the watch takes for noise, where it goes back to, what it keeps for that, what it looks at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from small_system import System, learned_system, make_model, record_probes
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.generation import greedy
from learner.model import load_model
from learner.probing.material import ProbeMaterial, load_material
from learner.probing.suite import ProbeRun, ProbeSuite
from learner.tokens import end_token, prompt_of
from learner.versioning.retire import retire
from learner.watch import Watch
from policies.config import GuardConfig
from policies.evidence import Detector
from policies.example import Example
from policies.guard import Judgement, Scores
from store import evidence, examples, probes, state, steps, versions
from store.database import Store
from store.versions import Version

FEW = GuardConfig(keep_versions=2, keep_daily=0, keep_weekly=0)


@dataclass(frozen=True)
class Tiny:
    """A model that nobody trained, its base, and a few of the items; `spoil` makes it worse at all."""

    model: PreTrainedModel
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def suite(self, items: int, own: Path | None = None) -> ProbeSuite:
        """Return the probes as a learner that starts makes them: so many items of each, all of the user's."""
        full = load_material(own)
        few = {name: getattr(full, name)[:items] for name in ("facts", "texts", "prompts")}
        material = full.model_copy(update=few)
        return ProbeSuite(self.model, self.base, self.tokenizer, material, lambda *_: True, 8)

    def spoil(self) -> None:
        """Make it sure of what it says, and wrong."""
        with torch.no_grad():
            self.model.model.norm.weight.mul_(-50)


@pytest.fixture
def tiny(smollm2_path: Path, tmp_path: Path) -> Tiny:
    """A random model of two narrow layers."""
    folder = make_model(tmp_path / "model", smollm2_path, tied=False)
    model, tokenizer = load_model(folder, torch.float32)
    return Tiny(model, load_model(folder, torch.float32)[0], tokenizer)


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


def test_noise_is_measured_once_kept_over_a_restart_and_allowed_by_the_judge(
    store: Store, tiny: Tiny
) -> None:
    suite, config = tiny.suite(4), GuardConfig(noise_checks=2)
    record_probes(store, "baseline", suite.run([]).scores)
    assert Watch(store, config, suite).measure_noise()
    measured = state.get(store, "guard_noise")
    assert {"nll", "facts", "kl", "length"} <= set(measured)
    assert all(0 <= noise < 0.01 for noise in measured.values()), "nothing was changed"

    tiny.spoil()
    restarted = Watch(store, config, tiny.suite(4))
    assert not restarted.measure_noise()
    assert state.get(store, "guard_noise") == measured
    worse = restarted.look("v")[1]
    assert "nll" in (*worse.suspect, *worse.broken)
    with store.write() as connection:
        state.put(connection, "guard_noise", {**measured, "nll": 1e6})
    noisy = restarted.look("v")[1]
    assert "nll" not in (*noisy.suspect, *noisy.broken)
    assert "kl" in (*noisy.suspect, *noisy.broken), "the noise of one probe excuses no other"


def test_noise_is_not_measured_on_weights_that_were_trained(system: System) -> None:
    assert not Watch(system.store, FEW, system.rounds._suite).measure_noise()
    assert state.get(system.store, "guard_noise") is None


def test_the_users_own_probes_join_a_baseline_and_find_weights_that_are_spoilt(
    store: Store, tiny: Tiny, tmp_path: Path
) -> None:
    record_probes(store, "baseline", tiny.suite(0).run([]).scores)  # before there was a file
    asked = [f"What is lake {number}?" for number in range(24)]
    answers = greedy_texts(tiny, asked)
    file = tmp_path / "probes.yaml"
    file.write_text(
        "".join(
            f"- prompt: {question}\n  regex: {json.dumps(re.escape(answer))}\n"
            for question, answer in zip(asked, answers, strict=True)
        )
    )
    watch = Watch(store, GuardConfig(), tiny.suite(0, file))
    watch.measure_noise()
    assert probes.baseline(store)["own"] == dict.fromkeys(asked, 1.0)
    run, judged = watch.look("v")
    assert list(run.scores["own"].values()) == [1.0] * 16, "of a check"
    assert not judged.breach
    tiny.spoil()
    run, judged = watch.look("v")
    assert run.scores["own"] == dict.fromkeys(asked, 0.0), "the others, too: the first were suspect"
    assert judged.breach
    assert judged.broken == ("own",)
    assert "own worse by 1.000, allowed 0.050" in judged.reasons[0]


def greedy_texts(tiny: Tiny, asked: Sequence[str]) -> list[str]:
    """Return what the base answers, cut to a few tokens."""
    prompts = [prompt_of(tiny.tokenizer, [{"role": "user", "content": one}], 512).ids for one in asked]
    found = greedy(tiny.base, prompts, 8, [end_token(tiny.tokenizer)])
    return [tiny.tokenizer.decode(answer.ids, skip_special_tokens=True) for answer in found]


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


@dataclass
class Told:
    """A suite that scores what it is told to, and remembers what it was asked for."""

    first: Scores
    rest_of: Scores
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def drawn(self, number: int) -> str:
        return "part"

    def rest(self, part: str) -> str:
        return "rest"

    def run(self, learned: object, systems: object, *, part: str, only: Sequence[str] = (), check: int = 0):
        self.asked.append(tuple(only))
        found = self.first if part == "part" else {name: self.rest_of[name] for name in only}
        return ProbeRun(found, 0.1)


@pytest.mark.parametrize(
    ("leak", "asked"), [(2.0, [(), ("leak",)]), (0.0, [(), ("leak",), ("facts",)])], ids=["breach", "none"]
)
def test_the_quickest_suspect_is_looked_at_first_and_a_breach_ends_the_look(
    store: Store, leak: float, asked: list[tuple[str, ...]]
) -> None:
    record_probes(store, "baseline", {"facts": {f"q{i}": 1.0 for i in range(60)}})
    part = {f"q{i}": float(i > 2) for i in range(24)}
    first = {"facts": part, "leak": {f"p{i}": 0.2 for i in range(8)}}
    rest = {"facts": {f"q{i}": 1.0 for i in range(24, 60)}, "leak": {f"p{i}": leak for i in range(8, 60)}}
    suite = Told(first, rest)
    judged = Watch(store, GuardConfig(), suite).look("v")[1]  # type: ignore[arg-type]
    assert suite.asked == asked
    assert judged.breach is (leak > 0)
