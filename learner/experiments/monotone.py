"""From a curve to the point where it crosses: an isotonic fit, and the smallest count above a margin."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from learner.experiments.intervals import Grid, mean, of_grid, resamples


def monotone(values: Sequence[float]) -> list[float]:
    """Return the closest rising sequence in least squares (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [fmean(block) for block in blocks for _ in block]


def crossing(counts: Sequence[int], gains: Sequence[float], margins: Sequence[float]) -> int | None:
    """Return the smallest count whose fitted gain is above its margin; None where none is."""
    fitted = zip(counts, monotone(gains), margins, strict=True)
    return next((count for count, gain, margin in fitted if gain > margin), None)


def margins_of(gains: Sequence[Grid]) -> list[float]:
    """Return what a gain at each count must exceed: the distance from its mean to its interval's low end.

    At least one item: where nothing varies, the interval has no width.
    """
    found = []
    for grid in gains:
        low, _ = of_grid(grid)
        found.append(max(mean(grid) - low, 1 / len(grid[0])))
    return found


def crossings(counts: Sequence[int], gains: Sequence[Grid], margins: Sequence[float]) -> list[float]:
    """Return the crossing of every resample of seeds and items; one never reached is the largest count."""
    found = []
    for seeds, items in resamples(len(gains[0]), len(gains[0][0])):
        means = [fmean(grid[s][i] for s in seeds for i in items) for grid in gains]
        found.append(float(crossing(counts, means, margins) or counts[-1]))
    return found
