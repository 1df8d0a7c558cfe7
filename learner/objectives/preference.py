"""Preference between the corrected and the rejected answer, relative to a reference (DPO).

Rafailov et al. 2023, equation 7, on the labelled window, plus likelihood of the corrected answer: without it
both answers may become less likely. The reference's log-probabilities are taken once for each pair and kept:
[T] numbers a row. `training.reference` says of which weights: the frozen base, or those in force when the
example was met first (the last good version, where rounds prepare it ahead).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from learner.objectives.objective import Objective, Scored, Want
from learner.tokens import Row, deviation


class Preference(Objective):
    """Both answers branch off one prefill. Without a rejected answer the correction is plain likelihood."""

    def parts(self, row: Row) -> tuple[Row, ...]:
        """Return the row and, of a correction, the same with the rejected answer."""
        return (row, rejected(row)) if row.kind == "correction" and row.other else (row,)

    def want(self, part: Row) -> Want | None:
        """Return the labels' log-probabilities for a pair, all of them for the others."""
        if part.kind != "correction":
            return Want(part)
        return Want(part, whole=False, own=self.config.reference == "version") if part.other else None

    def correction(self, parts: Sequence[Scored]) -> Tensor:
        """Return -log sigmoid(beta * difference of the two log-ratios) + the likelihood's share."""
        likelihood = -parts[0].label_log_probs().mean()
        if len(parts) == 1:
            return likelihood
        chosen, other = (log_ratio(part) for part in parts)
        preferred = -F.logsigmoid(self.config.preference_beta * (chosen - other))
        return preferred + self.config.preference_likelihood * likelihood


def rejected(row: Row) -> Row:
    """Return the row with the rejected answer in place of the chosen one, and the reverse."""
    marks, first = deviation(row.other, row.answer)
    against = None if first is None else row.answer[first]
    return replace(
        row, answer=row.other, other=row.answer, deviates=tuple(marks), first=first, against=against
    )


def log_ratio(part: Scored) -> Tensor:
    """Return log p(answer) - log p_reference(answer), summed over the window."""
    return (part.label_log_probs() - part.known()).sum()
