"""What every objective is: learn the correction where its direction holds, stay the base model elsewhere.

Objectives differ in what they make of a correction. Twins and general rows are the same in all:

- KL(base || now) on the base model's answer in place of likelihood, which would sharpen the model;
- on a twin, a margin between the two answers at the first token where they part. With the direction the new
  token must win, without it the old one: a swapped pair in one row of logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from learner.frozen import frozen_hidden
from learner.tokens import Row
from policies.config import TrainingConfig


@dataclass(frozen=True)
class Want:
    """What a part needs of a model beside the one that learns: its log-probabilities on `row`.

    Of every token of the vocabulary (`whole`, [T, V]) or of the labels only ([T]); of the frozen base, or of
    the learning model's own weights when the example was met first (`own`). No second copy is made for it.
    """

    row: Row
    whole: bool = True
    own: bool = False


@dataclass(frozen=True)
class Scored:
    """A part after the pass: `logits` [T, V] predict `row.answer`; `reference` is what it wanted."""

    row: Row
    logits: Tensor
    reference: Tensor | None

    def label_log_probs(self) -> Tensor:
        """Return log p of each label, [T]."""
        return -F.cross_entropy(self.logits, _labels(self.row, self.logits), reduction="none")

    def known(self) -> Tensor:
        """Return the reference. Raises ValueError where it is missing."""
        if self.reference is None:
            raise ValueError(
                f"row of example {self.row.example_id} is a {self.row.kind} row without base"
                " log-probabilities"
            )
        return self.reference


class Objective(ABC):
    """The loss of rows under a configuration."""

    twins: ClassVar[bool] = True
    """Whether a correction keeps a twin beside it."""
    strips: ClassVar[bool] = False
    """Whether a standing direction is taken out of the context of its corrections."""
    hints: ClassVar[bool] = False
    """Whether the row is the model's own answer, with the correction shown to a teacher (`Row.hint`)."""
    unpaired: ClassVar[bool] = False
    """Whether a rejected answer without a chosen one can be learned from."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config

    def parts(self, row: Row) -> tuple[Row, ...]:
        """Return what goes through the model for a row; parts of one context share its prefill."""
        return (row,)

    def want(self, part: Row) -> Want | None:
        """Return what the loss of a part needs of another model."""
        return None if part.kind == "correction" else Want(part)

    @abstractmethod
    def correction(self, parts: Sequence[Scored]) -> Tensor:
        """Return the scalar loss of a correction."""

    def loss(self, parts: Sequence[Scored]) -> Tensor:
        """Return the scalar loss of a row from its parts. Raises ValueError where a reference is missing."""
        row = parts[0].row
        return row.weight * (self.correction(parts) if row.kind == "correction" else self._stay(parts[0]))

    def token_weights(self, part: Scored) -> Tensor:
        """Return the weight of each token, [T]: those that deviate from the other answer count more."""
        marks = torch.tensor(part.row.deviates, device=part.logits.device, dtype=torch.float32)
        return 1.0 + (self.config.deviation_weight - 1.0) * marks

    def margin(self, part: Scored) -> Tensor:
        """Return what the row's token still lacks of its margin over the other answer's, where they part."""
        row = part.row
        if row.first is None or row.against is None or not self.config.margin_weight:
            return part.logits.new_zeros(())
        chosen, other = part.logits[row.first, row.answer[row.first]], part.logits[row.first, row.against]
        return self.config.margin_weight * F.softplus(self.config.margin - (chosen - other))

    def _stay(self, part: Scored) -> Tensor:
        weights = self.token_weights(part)
        scale = self.config.kl_weight if part.row.kind == "twin" else self.config.replay_kl_weight
        kl = scale * (weights * kl_to_base(part.logits, part.known())).sum() / weights.sum()
        return kl + self.margin(part)


def batch_losses(
    model: PreTrainedModel,
    objective: Objective,
    rows: Sequence[Row],
    reference: Callable[[Row], Tensor | None],
) -> Tensor:
    """Return the losses of all rows, [rows], of one context-frozen pass. Their mean is the batch's loss.

    `reference` gives what a part wanted.
    """
    parts = [objective.parts(row) for row in rows]
    flat = [part for group in parts for part in group]
    hidden = frozen_hidden(model, flat)
    logits = iter(model.lm_head(hidden.states).float().split([len(part.answer) for part in flat]))
    scored = [[Scored(part, next(logits), reference(part)) for part in group] for group in parts]
    return torch.stack([objective.loss(group) for group in scored])


def kl_to_base(logits: Tensor, reference: Tensor) -> Tensor:
    """Return KL(base || now) of every position, in nats: [T] from logits and base log-probabilities."""
    base = reference.to(logits.dtype)
    return (base.exp() * (base - F.log_softmax(logits, -1))).sum(-1)


@torch.no_grad()
def answer_states(model: PreTrainedModel, rows: Sequence[Row]) -> list[Tensor]:
    """Return what the model's lm_head gets at each row's answer, [T, H]: a part in V / H of its result."""
    return [part.clone() for part in frozen_hidden(model, rows).states.split([len(r.answer) for r in rows])]


@torch.no_grad()
def log_probs_of(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return the model's log-probabilities, fp32 [T, V], from what its lm_head gets."""
    return F.log_softmax(model.lm_head(states).float(), -1)


@torch.no_grad()
def log_probs(model: PreTrainedModel, rows: Sequence[Row], whole: bool = True) -> list[Tensor]:
    """Return the model's log-probabilities at each row's answer: fp16 [T, V], or fp32 [T] of the labels."""
    scores = [log_probs_of(model, states) for states in answer_states(model, rows)]
    if whole:
        return [score.half() for score in scores]
    return [
        score.gather(-1, _labels(row, score)[:, None])[:, 0] for row, score in zip(rows, scores, strict=True)
    ]


def _labels(row: Row, like: Tensor) -> Tensor:
    return torch.tensor(row.answer, device=like.device)
