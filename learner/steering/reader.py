"""Tells by hidden states whether an answer shows a behaviour: for behaviours that code cannot check.

The unsteered model reads the answer; along the difference of the means, at one layer, it lies nearer to the
followed answers of the pairs or to the ignored ones (Zou et al. 2023, "Representation Engineering", 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.steering.extraction import AnswerStates, answer_means
from policies.errors import InputError

LEAST_ACCURACY = 0.75
"""A reader that tells fewer of the pairs apart, each read with the others, is of no use."""


class Reader:
    """Reads answers of one model at the layer where the pairs are told apart best.

    `accuracy` is the share of the pairs' answers that are told right, each pair read by what the other pairs
    say. Raises InputError where that is too few.
    """

    def __init__(self, model: PreTrainedModel, states: AnswerStates) -> None:
        self._model = model
        right, gap = _told_apart(states)
        best = max(range(len(right)), key=lambda layer: (round(right[layer].item(), 6), gap[layer].item()))
        self.layer, self.accuracy = best, right[best].item()
        if self.accuracy < LEAST_ACCURACY:
            raise InputError(
                f"the pairs' answers cannot be told apart by this model ({self.accuracy:.0%} right): give a"
                " direction that code can check, or more pairs with a clearer difference"
            )
        followed, ignored = states.followed[best].mean(0), states.ignored[best].mean(0)
        self._along, self._middle = followed - ignored, (followed + ignored) / 2

    def shows(self, prompt: Sequence[int], answer: Sequence[int]) -> bool:
        """Tell whether an answer (ids) is nearer to the followed ones. An empty one shows nothing."""
        if not answer:
            return False
        state = answer_means(self._model, [(prompt, answer)])[self.layer, 0]
        return bool((state - self._middle) @ self._along > 0)


def _told_apart(states: AnswerStates) -> tuple[Tensor, Tensor]:
    """Return for each layer the share of answers told right, and how clearly, [layers] each.

    Each pair is left out of the direction and the middle that it is read with.
    """
    count = states.followed.shape[1]
    sums = states.followed.sum(1, keepdim=True), states.ignored.sum(1, keepdim=True)
    followed, ignored = (sums[0] - states.followed) / (count - 1), (sums[1] - states.ignored) / (count - 1)
    along, middle = followed - ignored, (followed + ignored) / 2
    ahead = ((states.followed - middle) * along).sum(-1)  # [layers, pairs]
    behind = ((states.ignored - middle) * along).sum(-1)
    right = torch.cat([ahead > 0, behind < 0], 1).float().mean(1)
    return right, (ahead - behind).mean(1) / (ahead - behind).std(1).clamp(min=1e-6)
