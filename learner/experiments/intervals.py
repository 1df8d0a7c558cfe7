"""95 % intervals: over seeds, over items, and of paired differences."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import fmean, stdev

Interval = tuple[float, float]

_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t, two-sided 95 %, by number of seeds."""
_RESAMPLES = 2000


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
