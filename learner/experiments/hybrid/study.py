"""One hybrid before and after training: how it answers, and what its layers carry on the same prompts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor
from transformers import PreTrainedModel

from learner.experiments import course
from learner.experiments.course import Models
from learner.experiments.directions import Direction
from learner.experiments.hybrid.ground import Ground
from learner.experiments.hybrid.measures import first_share, probe, shifts, subspace_agreement
from learner.experiments.hybrid.states import Place, states_of
from learner.experiments.scoring import answers_of
from policies.config import TrainingConfig
from policies.example import Example
from policies.turn import Message

_ANSWER_TOKENS = 48
_RANK = 3


@dataclass(frozen=True)
class Behaviour:
    """How a model answers held-out questions, 1 or 0 an item: with the direction, without, with another."""

    follows: list[int]
    leaks: list[int]
    leaks_other: list[int]


@dataclass(frozen=True)
class Seen:
    """States of one model on the same prompts: each [questions, width] by place."""

    directed: dict[Place, Tensor]
    other: dict[Place, Tensor]
    plain: dict[Place, Tensor]
    taught: dict[Place, Tensor]
    """Training questions under taught wordings; `apart` the same under other directions."""
    apart: dict[Place, Tensor]

    def difference(self, place: Place) -> Tensor:
        """Return what the direction, against another one, does to the state of each question."""
        return self.directed[place] - self.other[place]


@dataclass(frozen=True)
class Figures:
    """Of one place in one model: shifts by question, right probe answers, and how much is one line."""

    shifts: list[float]
    shifts_from_plain: list[float]
    probe: list[int]
    first_share: float
    agreement: float
    """Of the leading subspace of the differences with that of the base model."""


class Study:
    """Looks at models on one ground, with one direction; `most` bounds the questions."""

    def __init__(self, ground: Ground, direction: Direction, models: Models, most: int) -> None:
        self._ground, self._direction, self._models = ground, direction, models
        self._held_out, self._train = ground.held_out[:most], ground.train[:most]
        self.base = self.seen(models.base)

    def behaviour(self, model: PreTrainedModel) -> Behaviour:
        """Let a model answer the held-out questions."""
        argument, wordings = self._argument(self._direction.unseen)
        asked, halves = self._held_out, len(self._ground.others) // 2
        directed = self._answers(model, self._ground.directed(asked, wordings))
        plain = self._answers(model, self._ground.plain(asked))
        other = self._answers(model, self._ground.directed(asked, self._ground.others[halves:]))
        return Behaviour(
            [
                int(self._direction.follows(a, argument) and self._ground.right(q, a))
                for q, a in zip(asked, directed, strict=True)
            ],
            [int(self._direction.leaks(answer)) for answer in plain],
            [int(self._direction.leaks(answer)) for answer in other],
        )

    def seen(self, model: PreTrainedModel) -> Seen:
        """Read a model's states on all prompts."""
        ground, others = self._ground, self._ground.others
        halves = len(others) // 2

        def states(contexts: Sequence[Sequence[Message]]) -> dict[Place, Tensor]:
            return states_of(model, self._models.tokenizer, contexts)

        return Seen(
            directed=states(ground.directed(self._held_out, self._argument(self._direction.unseen)[1])),
            other=states(ground.directed(self._held_out, others[halves:])),
            plain=states(ground.plain(self._held_out)),
            taught=states(ground.directed(self._train, self._argument(self._direction.taught)[1])),
            apart=states(ground.directed(self._train, others[:halves])),
        )

    def figures(self, seen: Seen) -> dict[Place, Figures]:
        """Return the figures of every place."""
        return {
            place: Figures(
                shifts=shifts(seen.directed[place], seen.other[place]),
                shifts_from_plain=shifts(seen.directed[place], seen.plain[place]),
                probe=probe(
                    (seen.taught[place], seen.apart[place]), (seen.directed[place], seen.other[place])
                ),
                first_share=first_share(seen.difference(place)),
                agreement=subspace_agreement(self.base.difference(place), seen.difference(place), _RANK),
            )
            for place in seen.directed
        }

    def _argument(self, wordings: Sequence[str]) -> tuple[str, list[str]]:
        taught = wordings == self._direction.taught
        argument = (self._direction.arguments if taught else self._direction.unseen_arguments)[0]
        return argument, [wording.format(x=argument) for wording in wordings]

    def _answers(self, model: PreTrainedModel, contexts: Sequence[Sequence[Message]]) -> list[str]:
        return answers_of(model, self._models.tokenizer, contexts, _ANSWER_TOKENS)


def train(
    models: Models, examples: Sequence[Example], pool: Sequence[Example], config: TrainingConfig, seed: int
) -> int:
    """Train the model on examples, from the base on. Returns the number of steps."""
    models.reset()
    return course.learn(models, examples, pool, config, seed).steps


def moved(models: Models) -> dict[str, float]:
    """Return how far each kind of parameter moved from the base, as a share of its norm: |W - W0| / |W0|."""
    base = dict(models.base.named_parameters())
    shares: dict[str, list[float]] = defaultdict(list)
    for name, parameter in models.model.named_parameters():
        kind = re.sub(r"^.*layers\.\d+\.|\.weight$", "", name)
        change = (parameter.detach().float() - base[name].float()).norm() / base[name].float().norm()
        shares[kind].append(float(change))
    return {kind: fmean(values) for kind, values in sorted(shares.items())}
