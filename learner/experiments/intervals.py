"""95 % intervals: over seeds, over items, and of paired differences."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

Interval = tuple[float, float]
Grid = Sequence[Sequence[float]]
"""Values by seed, then by item; every seed has the same items in the same order."""

_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t, two-sided 95 %, by number of seeds."""
_RESAMPLES = 2000
_GRID_RESAMPLES = 1000


def over_seeds(means: Sequence[float]) -> Interval:
    """Return the interval of a mean over two or more seeds (Student's t)."""
    half = _T[min(len(means), 10)] * stdev(means) / math.sqrt(len(means))
    return fmean(means) - half, fmean(means) + half


def of_share(share: float, items: int) -> Interval:
    """Return Wilson's interval of a share of `items`."""
    z = 1.96
    centre = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items)) / (1 + z * z / items)
    return max(0.0, centre - half), min(1.0, centre + half)


def of_rates(rates: Sequence[float], items: int) -> Interval:
    """Return the interval of a mean rate: over seeds; of one seed, over its `items`."""
    if len(rates) == 1:
        return of_share(rates[0], items)
    low, high = over_seeds(rates)
    return max(0.0, low), min(1.0, high)


def of_mean(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the bootstrap interval of a mean; of a paired difference, give the differences."""
    draw = random.Random(seed)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return means[round(0.025 * _RESAMPLES)], means[round(0.975 * _RESAMPLES) - 1]


def resamples(seeds: int, items: int, seed: int = 0) -> Iterator[tuple[list[int], list[int]]]:
    """Draw seeds and items again, apart from each other: items are the same for all seeds."""
    draw = random.Random(seed)
    for _ in range(_GRID_RESAMPLES):
        yield draw.choices(range(seeds), k=seeds), draw.choices(range(items), k=items)


def of_grid(grid: Grid, seed: int = 0) -> Interval:
    """Return the bootstrap interval of a mean over seeds and items; give differences for a paired one."""
    drawn = resamples(len(grid), len(grid[0]), seed)
    return between([fmean(grid[s][i] for s in seeds for i in items) for seeds, items in drawn])


def between(values: Sequence[float]) -> Interval:
    """Return the 2.5 and 97.5 percentiles of resampled figures."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(0.025 * last)], ordered[round(0.975 * last)]


def mean(grid: Grid) -> float:
    """Return the mean over seeds and items."""
    return fmean(value for row in grid for value in row)


def minus(one: Grid, other: Grid) -> list[list[float]]:
    """Return the differences, paired by seed and item."""
    return [[a - b for a, b in zip(left, right, strict=True)] for left, right in zip(one, other, strict=True)]


def sign(interval: Interval) -> int:
    """Return 1 or -1 where an interval lies wholly above or below zero, else 0."""
    return (interval[0] > 0) - (interval[1] < 0)
