"""On-policy self-distillation: the model's own answer, taught by the model that has seen the correction.

The row is what the model itself answered; the teacher is the same weights with the corrected answer as an
earlier turn in the context (`Row.hint`), its distribution taken once, when the example is met first. The loss
is KL(now || teacher) at every token of the own answer (Agarwal et al. 2024, reverse KL on own samples).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from learner.objectives.objective import Objective, Scored, Want
from learner.tokens import Row


class Distillation(Objective):
    """Moves what the model would have said towards what it says when it knows the correction."""

    hints: ClassVar[bool] = True

    def want(self, part: Row) -> Want | None:
        """Return, for a correction, the distribution of the model with the correction in its context."""
        if part.kind != "correction":
            return Want(part)
        return Want(replace(part, context=part.hint), own=True)

    def correction(self, parts: Sequence[Scored]) -> Tensor:
        """Return the mean KL(now || teacher) over the answer, tokens that deviate weighing more."""
        now = F.log_softmax(parts[0].logits, -1)
        apart = (now.exp() * (now - parts[0].known().to(now.dtype))).sum(-1)
        weights = self.token_weights(parts[0])
        return (weights * apart).sum() / weights.sum()
