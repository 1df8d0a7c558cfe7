"""A behaviour trained by itself, from the base model and examples alone: no server, no store is touched."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from learner.tokens import Row
from learner.trainer import Trainer
from learner.vectors.blocks import Block, Shape, spans
from policies import replay, schedule
from policies.config import TrainingConfig
from policies.errors import GuardRefused
from policies.example import Example

Tell = Callable[[int, int, float], None]
"""Called after each step with the step, how many are planned, and its loss."""


@dataclass(frozen=True)
class Trained:
    """What a course took: its steps, and the loss of the last one."""

    steps: int
    loss: float


def train(
    trainer: Trainer,
    corrections: Sequence[Example],
    general: Sequence[Example],
    config: TrainingConfig,
    tell: Tell = lambda *_: None,
) -> Trained:
    """Take every correction `uses_per_example` times, by the recipe of a round: twins, a quarter replay.

    Raises GuardRefused where a step is not finite, InputError for an example that no row can be made of.
    """
    trainer.prepare([*corrections, *general])
    known = {example.id: example for example in (*corrections, *general)}
    uses: Counter[tuple[str, str]] = Counter()
    planned = len(corrections) * config.uses_per_example
    size, done, loss = 2 * config.corrections_per_batch, 0, 0.0

    def candidate(example: Example, quota: int) -> replay.Candidate:
        twin = any(row.kind == "twin" for row in trainer.rows_for(example))
        used = uses[example.kind, example.id]
        return replay.Candidate(example.id, used, quota, twin, uses["twin", example.id])

    while True:
        waiting = [candidate(e, config.uses_per_example) for e in corrections]
        rng = random.Random(f"{config.seed}/{done}")
        slots = replay.compose(waiting, [candidate(e, 0) for e in general], size, rng)
        if not slots:
            return Trained(done, loss)
        left = sum(max(0, c.quota - c.uses) for c in waiting)
        rate = schedule.learning_rate(config, done, remaining_uses=left, planned_uses=planned)
        rows = [_row(trainer, known[slot.example_id], slot.kind) for slot in slots]
        taken = trainer.step(rows, rate, _nowhere)
        if not taken.finite:
            raise GuardRefused(f"step {done + 1} is not finite (loss {taken.loss}): no vector was made")
        uses.update((slot.kind, slot.example_id) for slot in slots)
        done, loss = done + 1, taken.loss
        tell(done, schedule.planned_steps(planned, config.corrections_per_batch), loss)


def learned(trainer: Trainer) -> tuple[dict[str, Shape], Iterator[Block]]:
    """Return what a trainer changed against its base: shapes, and an iterator over the changes."""
    base = dict(trainer.base.named_parameters())
    shapes = {name: tuple(p.shape) for name, p in trainer.parameters.items()}
    return shapes, _changes({n: p.detach() for n, p in trainer.parameters.items()}, base)


def _changes(now: dict[str, Tensor], base: dict[str, Tensor]) -> Iterator[Block]:
    for name, value in now.items():
        for start, stop in spans(tuple(value.shape)):
            yield name, start, stop, value[start:stop].float() - base[name][start:stop].detach().float()


def _row(trainer: Trainer, example: Example, kind: str) -> Row:
    return next(row for row in trainer.rows_for(example) if row.kind == kind)


def _nowhere(name: str, values: Tensor) -> None:
    """No server has these weights."""
