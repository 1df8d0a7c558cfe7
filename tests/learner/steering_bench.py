"""A small system with its live steering and instant layer, for tests of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_system import System, fill, serve
from torch import Tensor

from learner.base_model import model_hash
from learner.commands import carry_out
from learner.probing.material import load_material
from learner.steering.file import Steering
from learner.steering.general import GeneralText
from learner.steering.instant import InstantLayer
from learner.steering.live import LiveSteering
from policies.config import SteeringConfig
from policies.messages import CommandPayload
from store import commands, examples, probes, steps
from store.clock import new_id
from store.database import open_store

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

    def order(self, live: LiveSteering | None = None, **arguments: Any) -> dict[str, Any]:
        """Give the command `steer` as the command line does; a refusal comes back as {"reason"}."""
        store, lineage, rounds = self.system.store, self.system.lineage, self.system.rounds
        command = CommandPayload(event_id=new_id(), command="steer", args=arguments)
        with store.write() as connection:
            commands.insert(connection, "test", command)
        carry_out(store, command, lineage, rounds, (live or self.live).handlers())
        ended = commands.outcome(store, command.event_id)
        assert ended is not None
        return ended[1]

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


def steering_of(system: System, vectors: Steering, judge: Judge, url: str = "http://127.0.0.1:1") -> Any:
    """The live steering of a system whose server answers at a URL."""
    parts = system.store, system.live, system.lineage, system.rounds
    return LiveSteering(*parts, vectors, judge, MOST_NLL, url, "tiny")


@contextmanager
def steering_bench(model_dir: Path, tmp_path: Path, owner: int) -> Iterator[Bench]:
    """Fill a store with corrections, serve the model, and attach; `owner` counts as the server's process."""
    store = open_store(tmp_path / "home")
    fill(store)
    store.close()
    serve(tmp_path, model_dir, owner)
    system = System(tmp_path, model_dir)
    system.lineage.settle()
    vectors = Steering(tmp_path / "home", model_hash(model_dir))
    judge = Judge()
    live = steering_of(system, vectors, judge)
    rules = SteeringConfig(auto=True, most_pairs=4)
    text = GeneralText(system.model, system.tokenizer, load_material().drawn(0).texts)
    instant = InstantLayer(system.store, rules, live, vectors, system.model, system.tokenizer, text)
    yield Bench(system, live, instant, judge)
    system.close()
