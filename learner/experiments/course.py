"""A round of learning from a few corrections: the product's own trainer, batches and rehearsal, offline."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments import material
from learner.experiments.directions import Direction
from learner.experiments.scoring import answers_of
from learner.rehearsing import rehearse
from learner.tokens import Row
from learner.trainer import Trainer, TwinAnswers
from policies import replay, schedule
from policies.config import RehearsalConfig, TrainingConfig
from policies.example import Example
from policies.rehearsing import prompts_of, uses_of
from policies.turn import Message

_ANSWER_TOKENS = 64


@dataclass(frozen=True)
class Models:
    """The model that is trained, and the frozen base."""

    model: PreTrainedModel
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    twin_answers: TwinAnswers = field(default_factory=dict, repr=False)

    def reset(self) -> None:
        """Give the model the base's weights again."""
        self.model.load_state_dict(self.base.state_dict())


@dataclass(frozen=True)
class Learned:
    """What a round took: `seconds` from the corrections to the last step, rehearsal included."""

    seconds: float
    steps: int
    rehearsals: int
    losses: tuple[float, ...]
    shots: tuple[Message, ...] = ()
    """Turns that are kept in every prompt instead of learning."""
    shots_of: Mapping[str, tuple[Message, ...]] = field(default_factory=dict)
    """Those that are kept in the prompts under one direction, by its name."""


def corrections_of(models: Models, directions: Sequence[Direction], count: int, seed: int) -> list[Example]:
    """Return corrections as a user gives them: the model's own answer, and what should have stood there."""
    made = material.drawn(directions, count, seed)
    contexts = [e.context for *_, e in made] + [e.twin_context or () for *_, e in made]
    answers = answers_of(models.base, models.tokenizer, contexts, _ANSWER_TOKENS)
    own, plain = answers[: len(made)], answers[len(made) :]
    return [
        example.model_copy(update={"rejected": answer, "chosen": direction.correct(without, argument)})
        for (direction, argument, _, example), answer, without in zip(made, own, plain, strict=True)
    ]


def learn(
    models: Models,
    corrections: Sequence[Example],
    pool: Sequence[Example],
    config: TrainingConfig,
    seed: int,
    rehearsal: RehearsalConfig | None = None,
    earlier: Sequence[Example] = (),
) -> Learned:
    """Train until every correction and every rehearsal has had its uses; of `earlier` it is reminded."""
    began = time.monotonic()
    practised = rehearsed(models, corrections, pool, rehearsal, seed) if rehearsal else []
    uses = uses_of(corrections, rehearsal.uses) if rehearsal else 0
    quota = {e.id: config.uses_per_example for e in corrections} | {e.id: uses for e in practised}
    trainer = Trainer(
        models.model, models.tokenizer, models.base, config, seed, twin_answers=models.twin_answers
    )
    trainer.prepare([*corrections, *practised, *earlier])
    training = _Round(trainer, (*corrections, *practised), tuple(pool), quota, config, seed, earlier)
    losses: list[float] = []
    while rows := training.rows(len(losses)):
        losses.append(trainer.step(rows, training.rate(len(losses)), lambda name, tensor: None).loss)
        training.count(rows)
    return Learned(time.monotonic() - began, len(losses), len(practised), tuple(losses))


class _Round:
    """Which rows are next, as `learner.rounds` chooses them, without a store."""

    def __init__(
        self,
        trainer: Trainer,
        examples: Sequence[Example],
        pool: Sequence[Example],
        quota: dict[str, int],
        config: TrainingConfig,
        seed: int,
        earlier: Sequence[Example] = (),
    ) -> None:
        self._trainer, self._pool, self._quota, self._config, self._seed = trainer, pool, quota, config, seed
        self._earlier = earlier
        self._examples = {e.id: e for e in (*examples, *pool, *earlier)}
        self._uses: Counter[tuple[str, str]] = Counter()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        left = sum(max(0, quota - self._uses["correction", i]) for i, quota in self._quota.items())
        planned = sum(self._quota.values())
        return schedule.learning_rate(self._config, step, remaining_uses=left, planned_uses=planned)

    def rows(self, step: int) -> list[Row]:
        """Return the rows of a step; none when nothing waits."""
        slots = replay.compose(
            [self._candidate(i) for i in self._quota],
            [replay.Candidate(e.id, self._uses["general", e.id]) for e in self._pool],
            2 * self._config.corrections_per_batch,
            random.Random(f"{self._seed}/{step}"),
            [replay.Candidate(e.id, self._uses["reminder", e.id]) for e in self._earlier],
            self._config.reminder_share,
        )
        self._uses.update(("reminder", slot.example_id) for slot in slots if slot.kind == "reminder")
        return [self._row(slot.kind, slot.example_id) for slot in slots]

    def count(self, rows: Sequence[Row]) -> None:
        """Take the uses of a step that was taken."""
        self._uses.update((row.kind, row.example_id) for row in rows)

    def _candidate(self, i: str) -> replay.Candidate:
        twins = any(row.kind == "twin" for row in self._trainer.rows_for(self._examples[i]))
        return replay.Candidate(i, self._uses["correction", i], self._quota[i], twins, self._uses["twin", i])

    def _row(self, kind: str, i: str) -> Row:
        kind = "correction" if kind == "reminder" else kind
        return next(row for row in self._trainer.rows_for(self._examples[i]) if row.kind == kind)


def rehearsed(
    models: Models,
    corrections: Sequence[Example],
    pool: Sequence[Example],
    rehearsal: RehearsalConfig,
    seed: int,
) -> list[Example]:
    """Rehearse on what users asked and on the pool, as `learner.rehearsal` does; never on what is scored."""
    asked = (*material.REHEARSED, *(str(one.context[-1]["content"]) for one in pool))
    prompts = prompts_of(asked, material.HELD_OUT)

    def ask(contexts: Sequence[Sequence[Message]]) -> list[str]:
        return answers_of(models.model, models.tokenizer, contexts, 40)

    return rehearse(corrections, prompts, rehearsal, ask, seed)
