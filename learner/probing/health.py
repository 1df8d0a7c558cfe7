"""Is what the model writes still like the base model's: how long, how varied, how sure?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from learner.generation import Answer

_SURE = 0.25
"""Entropies (nats) below this change by much when they change by little."""


def repetition(text: str) -> float:
    """Return the share of word pairs that stood there before."""
    words = re.findall(r"\w+", text.lower())
    pairs = list(pairwise(words))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def entropy(log_probs: Tensor) -> float:
    """Return the mean entropy of the next token, nats, from log-probabilities [T, V]."""
    values = log_probs.float()
    return -(values.exp() * values).sum(-1).mean().item()


def expected_length(log_probs: Tensor, end: int) -> float:
    """Return how many tokens of a text the model would write before it ends: at each, [T, V], it may.

    Of a text that was cut off, it shows what got shorter; of one that ended, what got longer, too.
    """
    goes_on = 1 - log_probs[:, end].float().exp()
    return goes_on.cumprod(0).sum().item()


def length_change(now: Tensor, before: Tensor, end: int) -> float:
    """Return by which share the expected length of one text changed, from log-probabilities [T, V]."""
    return _change(expected_length(now, end), expected_length(before, end), 1.0)


def health(
    now: Mapping[str, tuple[Answer, str]], before: Mapping[str, Answer]
) -> dict[str, dict[str, float]]:
    """Return `repetition` and `entropy` of each item: the latter as a distance from the base."""
    found: dict[str, dict[str, float]] = {"repetition": {}, "entropy": {}}
    for item, (answer, text) in now.items():
        base = before[item]
        found["repetition"][item] = repetition(text)
        if answer.log_probs is not None and base.log_probs is not None:
            found["entropy"][item] = _change(entropy(answer.log_probs), entropy(base.log_probs), _SURE)
    return found


def _change(now: float, before: float, least: float) -> float:
    return abs(now - before) / max(before, least)
