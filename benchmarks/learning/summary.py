"""From cells to the figures that are reported: means over seeds, with intervals."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import Any

from benchmarks.learning.cells import BASELINES, COUNTS, Results

_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t, two-sided 95 %, by number of seeds."""
_AVERAGED = ("leak", "leak_other", "leak_no_system", "quality", "facts_delta", "nll_ratio", "train_seconds")


def summary(results: Results) -> dict[str, Any]:
    """Return every cell that has a seed, by direction and number of corrections, and the baselines."""
    report: dict[str, Any] = {
        taught: {str(n): merged(rows) for n in counts if (rows := results.of(taught, n))}
        for taught, counts in COUNTS.items()
    }
    report["baselines"] = {
        recipe: {
            f"{taught}_{n}": merged(rows)
            for taught, counts in COUNTS.items()
            for n in counts
            if (rows := results.of(taught, n, recipe))
        }
        for recipe in BASELINES
    }
    return report


def merged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of one cell over its seeds; `interval` is the 95 % one of the follow-rate."""
    follow = [fmean(row["follow"].values()) for row in rows]
    items = sum(len(hits) for row in rows for hits in row["follow_items"].values())
    return {
        "follow_rate": fmean(follow),
        "interval": interval(follow, items),
        "follow_by_direction": {
            name: fmean(row["follow"][name] for row in rows) for name in rows[0]["follow"]
        },
        "paraphrase": fmean(fmean(row["paraphrase"].values()) for row in rows),
        **{name: fmean(row[name] for row in rows) for name in _AVERAGED},
        "seeds": len(rows),
        "items": items,
    }


def interval(rates: list[float], items: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean: Student's t over seeds; of one seed, Wilson's over its items."""
    mean = fmean(rates)
    if len(rates) > 1:
        half = _T[min(len(rates), 10)] * stdev(rates) / math.sqrt(len(rates))
        return max(0.0, mean - half), min(1.0, mean + half)
    z = 1.96
    centre = (mean + z * z / (2 * items)) / (1 + z * z / items)
    half = z * math.sqrt(mean * (1 - mean) / items + z * z / (4 * items * items)) / (1 + z * z / items)
    return max(0.0, centre - half), min(1.0, centre + half)
