"""Is what the model writes still like the base model's: how long, how varied, how sure?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from learner.generation import Answer

_SHORT = 4
_SURE = 0.25
"""Entropies (nats) and lengths (tokens) below these change by much when they change by little."""


def repetition(text: str) -> float:
    """Return the share of word pairs that stood there before."""
    words = re.findall(r"\w+", text.lower())
    pairs = list(pairwise(words))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def entropy(log_probs: Tensor) -> float:
    """Return the mean entropy of the next token, nats, from log-probabilities [T, V]."""
    values = log_probs.float()
    return -(values.exp() * values).sum(-1).mean().item()


def health(
    now: Mapping[str, tuple[Answer, str]], before: Mapping[str, Answer]
) -> dict[str, dict[str, float]]:
    """Return `repetition`, `length` and `entropy` of each item: the last two as distances from the base."""
    found: dict[str, dict[str, float]] = {"repetition": {}, "length": {}, "entropy": {}}
    for item, (answer, text) in now.items():
        base = before[item]
        found["repetition"][item] = repetition(text)
        found["length"][item] = _change(len(answer.ids), len(base.ids), _SHORT)
        if answer.log_probs is not None and base.log_probs is not None:
            found["entropy"][item] = _change(entropy(answer.log_probs), entropy(base.log_probs), _SURE)
    return found


def _change(now: float, before: float, least: float) -> float:
    return abs(now - before) / max(before, least)
