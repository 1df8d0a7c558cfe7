"""Layer, strength and method of a vector: those under which the model's own answers show the behaviour.

Likelihood prefers vectors too weak to change an answer. So a direction is made as strong as general text
allows, and weaker, the model answers a few prompts under each, and the answers are judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from learner.steering.extraction import Directions, Method, rows_of
from learner.steering.strength import LEAST, MOST, as_strong_as
from learner.steering.tryout import Shows, Tryout

COSTS = (1.02, 1.06, 1.12, 1.25, 1.45)
"""NLL of general text, in times of that without a vector, at which a direction is tried. Distances between
followed and ignored answers do not tell how strong it must be: questions show from twelve of them on,
lowercase from three.
"""
MOST_NLL = 1.5
"""General NLL under a chosen vector, at most so many times that without: what the guard allows, too.

A vector that does what it should costs: text in mixed case is unlikely to who writes capitals.
"""
_DEPTHS = (0.35, 0.5, 0.65, 0.8)
"""Steering before is undone by what follows; after it there is nothing left that could react."""
_UNSEEN = 1e-3
"""An excess below it is not told from none."""


@dataclass(frozen=True)
class Choice:
    """Where a vector is added and how strongly; `off` and `on` are the shares of answers that show the
    behaviour without it and with it, on prompts that it was not made of.
    """

    method: Method
    layer: int
    scale: float
    off: float
    on: float
    nll_ratio: float


def choose(
    directions: Directions,
    tryout: Tryout,
    shows: Shows,
    layers: Sequence[int] | None = None,
    most_nll: float = MOST_NLL,
    tell: Callable[[str], object] = lambda _: None,
) -> Choice:
    """Try layers and strengths; return the one that costs least of those that show most.

    The difference of means goes first, over all `layers` (absent: four depths); the principal component is
    tried at the best of them. A share within one standard error of the highest is as good: a strong vector
    that shows a little more on a dozen prompts goes round in circles on others (docs/log.md).
    """
    count = directions.mean.shape[0]
    plain = tryout.hits([None], shows)[0]
    off = fmean(plain)

    def tried(method: Method, layer: int) -> list[Choice]:
        cells = scales(directions, method, layer, tryout, most_nll)
        rows = [rows_of(directions, method, layer, scale, count) for scale in cells]
        found = [
            Choice(method, layer, scale, off, fmean(hits), cells[scale])
            for scale, hits in zip(cells, tryout.hits(rows, shows), strict=True)
        ]
        best = _best(found, len(plain))
        tell(f"{method}, layer {layer}: {off:.2f} -> {best.on:.2f} with x{best.scale:g}")
        return found

    found = [one for layer in layers or depths(count) for one in tried("mean", layer)]
    return _best([*found, *tried("pca", _best(found, len(plain)).layer)], len(plain))


def depths(layers: int) -> list[int]:
    """Return the layers that are tried of a model with so many."""
    return sorted({min(layers - 1, int(layers * depth)) for depth in _DEPTHS})


def scales(
    directions: Directions, method: Method, layer: int, tryout: Tryout, most_nll: float
) -> dict[float, float]:
    """Return the scales that cost about COSTS, with what each does cost.

    The excess grows about as the square of the scale, so one that is known tells the others. What costs more
    than `most_nll` is left out; the weakest stays.
    """
    count = directions.mean.shape[0]

    @cache
    def cost(scale: float) -> float:
        return tryout.nll_ratio(rows_of(directions, method, layer, scale, count))

    known = as_strong_as(cost, min(most_nll, COSTS[len(COSTS) // 2]))
    excess = max(cost(known) - 1, _UNSEEN)
    wanted = (known * math.sqrt((ratio - 1) / excess) for ratio in COSTS)
    found = {scale: cost(scale) for scale in (min(MOST, max(LEAST, one)) for one in wanted)}
    return {scale: ratio for scale, ratio in found.items() if ratio <= most_nll or scale == min(found)}


def _best(found: Sequence[Choice], answers: int) -> Choice:
    """Return the cheapest within one standard error of the highest share of so many answers."""
    most = max(one.on for one in found)
    near = most - math.sqrt(most * (1 - most) / answers)
    return min((one for one in found if one.on >= near), key=lambda one: one.nll_ratio)
