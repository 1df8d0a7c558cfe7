"""The instant layer on a small system: corrections switch a vector on, the weights take it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from small_system import System, fill, make_model, serve
from torch import Tensor

from learner.base_model import model_hash
from learner.steering.file import Steering
from learner.steering.instant import InstantLayer, name_of
from learner.steering.live import LiveSteering
from policies.config import SteeringConfig
from policies.errors import GuardRefused
from policies.example import Example
from store import examples, probes, steps, versions
from store.database import open_store

DIRECTION = "Answer in capitals."
MOST_NLL = 1.5


@dataclass
class Judge:
    """Says what general text suffers."""

    cost: Callable[[Tensor], float] = lambda rows: 1.0

    def __call__(self, rows: Tensor) -> float:
        return self.cost(rows)


@dataclass
class Bench:
    """A system with its steering; `judge.cost` is what general text is said to suffer under rows."""

    system: System
    live: LiveSteering
    instant: InstantLayer
    judge: Judge

    def rows(self) -> Tensor:
        """What the server adds now."""
        return self.system.live.steering()

    def silent(self) -> bool:
        """Whether the server adds nothing at all."""
        return not self.system.live.steers and not self.rows().any()

    def probed(self, follow_rate: float) -> None:
        """Write an accepted run of the probes in which the weights follow so many of what was learned."""
        learned = [example.id for example in examples.learned(self.system.store)]
        followed = round(follow_rate * len(learned))
        with self.system.store.write() as connection:
            probes.add(
                connection,
                step_id=steps.last_confirmed(self.system.store),
                version_id=self.system.lineage.version.id,
                verdict="accept",
                reason="",
                seconds=0.0,
                scores={"follow": {item: float(n < followed) for n, item in enumerate(learned)}},
            )


@pytest.fixture(scope="module")
def model_dir(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("instant") / "model", smollm2_path)


@pytest.fixture
def bench(model_dir: Path, tmp_path: Path, owner: Any) -> Iterator[Bench]:
    store = open_store(tmp_path / "home")
    fill(store)
    store.close()
    serve(tmp_path, model_dir, owner.process.pid)
    system = System(tmp_path, model_dir)
    system.lineage.settle()
    vectors = Steering(tmp_path / "home", model_hash(model_dir))
    judge = Judge()
    live = LiveSteering(
        system.store,
        system.live,
        system.lineage,
        system.rounds,
        vectors,
        judge,
        MOST_NLL,
        "http://127.0.0.1:1",
        "tiny",
    )
    rules = SteeringConfig(auto=True, most_pairs=4)
    instant = InstantLayer(system.store, rules, live, vectors, system.model, system.tokenizer)
    yield Bench(system, live, instant, judge)
    system.close()


def test_a_correction_switches_its_vector_on_before_anything_is_trained(bench: Bench) -> None:
    assert bench.silent()
    bench.instant.look()
    assert [slot.name for slot in bench.live.slots()] == [name_of(DIRECTION)]
    added = bench.rows()
    assert added[1].any()
    assert not added[0].any()
    version = versions.in_force(bench.system.store)
    assert version is not None
    assert version.kind == "steer"
    bench.instant.look()
    assert versions.in_force(bench.system.store) == version, "nothing new was corrected: nothing changes"


def test_a_newer_correction_renews_the_vector(bench: Bench) -> None:
    bench.instant.look()
    first = bench.rows()
    question = {"role": "user", "content": "What is a hill?"}
    newer = Example(
        id="z",
        kind="correction",
        direction=DIRECTION,
        context=({"role": "system", "content": DIRECTION}, question),
        twin_context=(question,),
        chosen="A HILL IS HIGH",
        rejected="Hills are everywhere around us.",
        origin="correction",
    )
    with bench.system.store.write() as connection:
        examples.upsert_correction_example(connection, newer, 2)
    bench.instant.look()
    assert not torch.equal(bench.rows(), first)
    assert len(bench.live.slots()) == 1


def test_without_auto_nothing_is_switched_on(bench: Bench) -> None:
    bench.instant._config = SteeringConfig(auto=False)
    bench.instant.look()
    assert bench.silent()


def test_the_vector_falls_as_the_weights_follow_and_goes_when_they_do(bench: Bench) -> None:
    bench.instant.look()
    whole = bench.rows()
    bench.system.learn()
    bench.probed(0.0)
    bench.instant.anneal()
    assert torch.equal(bench.rows(), whole), "what the weights have not learned, the vector still does"
    bench.probed(0.5)
    bench.instant.anneal()
    torch.testing.assert_close(bench.rows().float(), 0.5 * whole.float(), rtol=0.01, atol=1e-6)
    assert [slot.scale for slot in bench.live.slots()] == [0.5]
    bench.probed(0.25)
    bench.instant.anneal()
    assert [slot.scale for slot in bench.live.slots()] == [0.5], "it never rises again"
    bench.probed(1.0)
    bench.instant.anneal()
    assert bench.silent()
    assert bench.live.slots() == []


def test_steer_train_lets_a_vector_made_by_hand_fall(bench: Bench) -> None:
    bench.instant.look()
    slot = bench.live.slots()[0].model_copy(update={"anneal": False})
    bench.live.on(slot)
    bench.system.learn()
    bench.probed(1.0)
    bench.instant.anneal()
    assert bench.live.slots() == [slot], "a vector that nobody handed over stays"
    done = bench.live.handlers()["steer"]({"action": "train", "name": slot.name})
    assert done["examples"] > 0
    bench.instant.anneal()
    assert bench.silent()


def test_the_guard_turns_a_vector_off_that_new_weights_do_not_bear(bench: Bench) -> None:
    bench.instant.look()
    bench.system.learn()
    bench.judge.cost = lambda rows: MOST_NLL + 0.1
    bench.live.follow()
    assert bench.silent()
    assert bench.live.slots() == []
    version = versions.in_force(bench.system.store)
    assert version is not None
    assert "breach" in version.note
    told = bench.system.store.rows("SELECT payload FROM outbox WHERE payload LIKE '%steering off%'")
    assert len(told) == 1


def test_new_weights_that_bear_it_keep_it(bench: Bench) -> None:
    bench.instant.look()
    added = bench.rows()
    bench.system.learn()
    bench.live.follow()
    assert torch.equal(bench.rows(), added)


def test_a_vector_that_costs_too_much_comes_on_weaker_or_not_at_all(bench: Bench) -> None:
    norms: list[float] = []

    def cost(rows: Tensor) -> float:
        norms.append(float(rows.norm()))
        return 2.0 if norms[-1] > 0.5 * norms[0] else 1.2

    bench.judge.cost = cost
    bench.instant.look()
    assert len(norms) == 3, "1, 0.6, and 0.36 of the whole"
    assert bench.live.slots()[0].scale == pytest.approx(0.36)
    bench.judge.cost = lambda rows: float("nan")
    with pytest.raises(GuardRefused, match="general text"):
        bench.live.on(bench.live.slot(name_of(DIRECTION), 1.0))


def test_a_rollback_takes_the_vector_back_with_the_version(bench: Bench) -> None:
    before = bench.system.lineage.version
    bench.instant.look()
    assert not bench.silent()
    bench.system.lineage.roll_back(before, "by hand")
    bench.live.follow()
    assert bench.silent()
