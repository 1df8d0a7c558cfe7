"""Answers that were right or wrong, each for itself: no pair is needed (KTO).

Ethayarajh et al. 2024, equations 7 and 8. Their reference point is an estimate from mismatched pairs; here
KL(now || base) is summed exactly over the positions of the answer, for both distributions are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.objectives.objective import Objective, Scored, Want
from learner.objectives.preference import rejected
from learner.tokens import Row


class Unpaired(Objective):
    """A chosen answer gains on the reference point, a rejected one falls below it; either may be missing."""

    unpaired: ClassVar[bool] = True

    def parts(self, row: Row) -> tuple[Row, ...]:
        """Return the row and, of a correction with both answers, the rejected one as a row of its own."""
        if row.kind != "correction" or not row.other:
            return (row,)
        return (row, _marked(rejected(row)))

    def want(self, part: Row) -> Want | None:
        """Return all log-probabilities of the base: the reference point needs the distribution."""
        return Want(part)

    def correction(self, parts: Sequence[Scored]) -> Tensor:
        """Return the mean over the answers of 1 - sigmoid(beta * distance to the right side)."""
        return torch.stack([self._value(part) for part in parts]).mean()

    def _value(self, part: Scored) -> Tensor:
        now, base = F.log_softmax(part.logits, -1), part.known().to(part.logits.dtype)
        labels = torch.tensor(part.row.answer, device=now.device)[:, None]
        gained = (now - base).gather(-1, labels).sum()
        point = (now.exp() * (now - base)).sum().detach()
        side = -1.0 if part.row.unwanted else 1.0
        return 1.0 - torch.sigmoid(side * self.config.preference_beta * (gained - point))


def _marked(row: Row) -> Row:
    return Row(**{**row.__dict__, "unwanted": True})
