"""What one part has found, and the statistics of comparing recipes by item and by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from learner.experiments.intervals import Interval

Cell = dict[str, Any]
"""What was measured on one recipe and seed."""
Groups = list[list[float]]
"""Values by seed, then by item."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Finding:
    """The answer to one part; `measured` names the figure `value`, its 95 % `interval` and `n` are of."""

    part: str
    question: str
    answer: str
    measured: str
    value: float
    interval: Interval
    n: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Unmeasured:
    """A part that this model or machine does not allow to measure, and why."""

    part: str
    question: str
    reason: str


def nested(groups: Groups, seed: int = 0) -> Interval:
    """Return the 95 % bootstrap interval of the mean: seeds are drawn first, then items within each.

    Where all scores (0 or 1, or their differences) agree, resampling sees no doubt: then the rule of three.
    """
    values = {value for items in groups for value in items}
    if values in ({-1.0}, {0.0}, {1.0}):
        value, doubt = values.pop(), 3 / count(groups)
        return value - doubt, value + doubt
    draw = random.Random(seed)
    means = []
    for _ in range(_RESAMPLES):
        drawn = draw.choices(groups, k=len(groups))
        means.append(fmean(fmean(draw.choices(items, k=len(items))) for items in drawn))
    means.sort()
    return means[round(0.025 * _RESAMPLES)], means[round(0.975 * _RESAMPLES) - 1]


def nested_share(groups: Groups) -> Interval:
    """Return `nested` of scores whose mean is a share: within 0 and 1."""
    low, high = nested(groups)
    return max(0.0, low), min(1.0, high)


def mean(groups: Groups) -> float:
    """Return the mean over seeds of the mean over items."""
    return fmean(fmean(items) for items in groups)


def count(groups: Groups) -> int:
    """Return how many values there are."""
    return sum(map(len, groups))


def of_recipe(cells: Sequence[Cell], recipe: str) -> list[Cell]:
    """Return the cells of a recipe, one a seed, in the order of seeds."""
    return sorted((cell for cell in cells if cell["recipe"] == recipe), key=lambda cell: int(cell["seed"]))


def behaviour_of(cells: Sequence[Cell], recipe: str, *kinds: str) -> Groups:
    """Return a recipe's scores by item, of one or more kinds of item together."""
    return [
        [value for kind in kinds for value in cell["behaviour"][kind]] for cell in of_recipe(cells, recipe)
    ]


def said(value: float, interval: Interval) -> str:
    """Write a difference with its interval."""
    return f"{value:+.3g} [{interval[0]:+.2g}, {interval[1]:+.2g}]"
