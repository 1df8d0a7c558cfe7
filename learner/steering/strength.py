"""How strong a vector may be: as strong as general text bears.

The distance between followed and ignored answers says little about that: of one behaviour half of it makes
gibberish, of another four times it changes nothing (docs/log.md). What vectors that work have in common is
what they cost: a tenth to a fifth of the NLL of general text.
"""

from __future__ import annotations

import math
from collections.abc import Callable

FIRST, LEAST, MOST = 2.0, 1 / 16, 16.0
"""Scales, in distances: the first that is tried, and the bounds."""
TRIES = 5
NEAR = 0.75
"""A scale that uses so much of what is allowed is good enough."""


def as_strong_as(cost: Callable[[float], float], allowed: float) -> float:
    """Return a scale at which `cost`, in times of the NLL without a vector, is at most `allowed` and near it.

    The excess grows about as the square of the scale, so a few tries do. LEAST where all of them cost more.
    """
    room = allowed - 1
    under, over, scale = 0.0, math.inf, FIRST
    for _ in range(TRIES):
        excess = cost(scale) - 1
        if excess > room or math.isnan(excess):
            over = scale
        else:
            under = scale
            if excess >= NEAR * room or scale >= MOST:
                break
        scale = _next(scale, excess, room, under, over)
    return under or LEAST


def _next(scale: float, excess: float, room: float, under: float, over: float) -> float:
    """Return the scale at which the square law meets a little less than is allowed, within what is known."""
    factor = math.sqrt(0.9 * room / excess) if excess > 0 else 4.0
    wanted = min(MOST, max(LEAST, scale * min(4.0, max(0.25, factor))))
    if under < wanted < over:
        return wanted
    return math.sqrt(max(under, LEAST) * min(over, MOST))
