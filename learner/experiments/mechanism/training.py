"""Training by one recipe: the product's trainer and objective; what a batch is made of is the recipe's."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from learner.apollo import Apollo
from learner.experiments.course import Models
from learner.experiments.mechanism.recipes import Recipe
from learner.tokens import Row
from learner.trainer import Gradients, Trainer
from policies import replay, schedule
from policies.config import TrainingConfig
from policies.errors import InputError
from policies.example import Example

Slots = tuple[replay.BatchRow, ...]
Apply = Callable[[Trainer, Gradients, float], None]
"""Takes a step: the trainer, what it is to apply, and the learning rate."""


@dataclass(frozen=True)
class Material:
    """What all recipes of a seed learn from; `pools` are the general rows, by name."""

    corrections: tuple[Example, ...]
    pools: dict[str, tuple[Example, ...]]
    seed: int


@dataclass(frozen=True)
class Trained:
    """A training that has ended: its trainer, and the loss of each step."""

    trainer: Trainer
    losses: tuple[float, ...]
    examples: tuple[Example, ...]

    def corrected(self) -> list[Row]:
        """Return the rows of the corrections that were learned."""
        return [_row(self.trainer, example, "correction") for example in self.examples]

    def updates(self) -> dict[str, Tensor]:
        """Return trained less base by tensor, fp32: exact, with what rounding to bf16 has left over."""
        base = dict(self.trainer.base.named_parameters())
        kept = self.trainer.state(copy=False).tensors
        return {
            name: p.detach().float() - base[name].detach().float() + kept[f"remainder/{name}"]
            for name, p in self.trainer.parameters.items()
        }


def undirected(example: Example) -> Example:
    """Return the same correction of the same question, asked without its direction."""
    context = example.twin_context or example.context
    return example.model_copy(update={"context": context, "twin_context": None, "direction": None})


def plan(
    corrections: Sequence[Example],
    pool: Sequence[Example],
    config: TrainingConfig,
    seed: int,
    share: float,
) -> list[Slots]:
    """Return the batches: corrections and twins are chosen by `policies.replay`, whatever the share.

    General rows come on top: so many that they are `share` of all rows, spread evenly over the steps.
    Raises InputError where there is none to take.
    """
    if share and not pool:
        raise InputError("no general row to replay: the base model's answers to general prompts are empty")
    draw = random.Random(f"{seed}/general")
    order = draw.sample(list(pool), len(pool))
    uses: Counter[tuple[str, str]] = Counter()
    batches: list[Slots] = []
    given, owed = 0, 0.0
    while chosen := _chosen(corrections, uses, config, f"{seed}/{len(batches)}"):
        owed += len(chosen) * share / (1 - share)
        ids = [order[i % len(order)].id for i in range(given, round(owed))]
        given += len(ids)
        uses.update((slot.kind, slot.example_id) for slot in chosen)
        batches.append((*chosen, *(replay.BatchRow("general", i) for i in ids)))
    return batches


def _chosen(
    corrections: Sequence[Example], uses: Counter[tuple[str, str]], config: TrainingConfig, seed: str
) -> Slots:
    """Return corrections and twins of the next batch; none when all have had their uses."""
    waiting = [
        replay.Candidate(
            e.id,
            uses["correction", e.id],
            config.uses_per_example,
            e.twin_context is not None,
            uses["twin", e.id],
        )
        for e in corrections
    ]
    general = [replay.Candidate("general")]
    slots = replay.compose(waiting, general, 2 * config.corrections_per_batch, random.Random(seed))
    return tuple(slot for slot in slots if slot.kind != "general")


def apply(trainer: Trainer, gradients: Gradients, rate: float) -> None:
    """Take a step on the model alone."""
    trainer.apply(gradients, rate, lambda name, tensor: None)


def train(
    models: Models,
    recipe: Recipe,
    material: Material,
    config: TrainingConfig,
    steps: int | None = None,
    take: Apply = apply,
) -> Trained:
    """Give the model the base's weights, and train it by a recipe; only its first `steps`, if given."""
    models.reset()
    examples = [e if recipe.directed else undirected(e) for e in material.corrections]
    pool = material.pools[recipe.pool]
    batches = plan(examples, pool, config, material.seed, recipe.general)[:steps]
    trainer = _trainer(models, recipe, config, material.seed)
    known = {example.id: example for example in (*examples, *pool)}
    trainer.prepare([known[i] for i in dict.fromkeys(slot.example_id for b in batches for slot in b)])
    planned = len(examples) * config.uses_per_example
    losses: list[float] = []
    for number, batch in enumerate(batches):
        left = max(0, planned - number * config.corrections_per_batch)
        rate = schedule.learning_rate(config, number, remaining_uses=left, planned_uses=planned)
        rows = [_row(trainer, known[slot.example_id], slot.kind) for slot in batch]
        gradients = trainer.backward(rows)
        take(trainer, gradients, rate * recipe.rate)
        losses.append(gradients.loss)
    return Trained(trainer, tuple(losses), tuple(examples))


def _row(trainer: Trainer, example: Example, kind: str) -> Row:
    return next(row for row in trainer.rows_for(example) if row.kind == kind)


def _trainer(models: Models, recipe: Recipe, config: TrainingConfig, seed: int) -> Trainer:
    """Return a trainer. Apollo whose tensors are all `plain` is AdamW without weight decay."""
    config = config.model_copy(update={"parameters": recipe.parameters})
    trainer = Trainer(
        models.model, models.tokenizer, models.base, config, seed, twin_answers=models.twin_answers
    )
    if recipe.optimizer == "adamw":
        trainer.optimizer = Apollo(
            trainer.parameters, config.learning_rate, None, plain=tuple(trainer.parameters)
        )
    return trainer
