"""Layer, strength and method of a vector: those under which the model's own answers show the behaviour.

Likelihood prefers vectors too weak to change an answer. So a direction is made as strong as general text
allows, the model answers a few prompts under it, and the answers are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from learner.steering.extraction import Directions, Method, rows_of
from learner.steering.tryout import Shows, Tryout

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""In distances between the means of followed and ignored."""
MOST_NLL = 1.5
"""General NLL under a chosen vector, at most so many times that without: what the guard allows, too.

A vector that does what it should costs: text in mixed case is unlikely to who writes capitals.
"""
_DEPTHS = (0.35, 0.5, 0.65, 0.8)
"""Steering before is undone by what follows; after it there is nothing left that could react."""


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
    """Try layers and strengths; return the best, of equally good ones the one that costs least.

    The difference of means goes first, over all `layers` (absent: four depths); the principal component is
    tried at the best of them.
    """
    count = directions.mean.shape[0]
    off = fmean(tryout.hits([None], shows)[0])

    def tried(method: Method, layer: int) -> list[Choice]:
        cells = allowed(directions, method, layer, tryout, most_nll)
        rows = [rows_of(directions, method, layer, scale, count) for scale in cells]
        found = [
            Choice(method, layer, scale, off, fmean(hits), cells[scale])
            for scale, hits in zip(cells, tryout.hits(rows, shows), strict=True)
        ]
        best = max(found, key=_worth)
        tell(f"{method}, layer {layer}: {off:.2f} -> {best.on:.2f} with x{best.scale:g}")
        return found

    best = max((one for layer in layers or depths(count) for one in tried("mean", layer)), key=_worth)
    return max(best, *tried("pca", best.layer), key=_worth)


def depths(layers: int) -> list[int]:
    """Return the layers that are tried of a model with so many."""
    return sorted({min(layers - 1, int(layers * depth)) for depth in _DEPTHS})


def allowed(
    directions: Directions, method: Method, layer: int, tryout: Tryout, most_nll: float
) -> dict[float, float]:
    """Return those of STRENGTHS at which general text stays likely enough, with its ratio; at least one."""
    count, found = directions.mean.shape[0], {}
    for scale in STRENGTHS:
        ratio = tryout.nll_ratio(rows_of(directions, method, layer, scale, count))
        if found and ratio > most_nll:
            break
        found[scale] = ratio
    return found


def _worth(choice: Choice) -> tuple[float, float]:
    return choice.on, -choice.nll_ratio
