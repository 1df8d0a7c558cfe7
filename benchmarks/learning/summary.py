"""From cells to the figures that are reported: means over seeds, with intervals."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from benchmarks.learning.cells import BASELINES, COUNTS, OBJECTIVES, RATES, Results
from learner.experiments.intervals import of_rates, over_seeds

_AVERAGED = ("leak", "leak_other", "leak_no_system", "quality", "facts_delta", "nll_ratio", "train_seconds")
_SPREAD = ("leak", "leak_other", "facts_delta", "nll_ratio")


def summary(results: Results) -> dict[str, Any]:
    """Return every cell that has a seed, by direction and number of corrections; then the other recipes."""
    report: dict[str, Any] = {
        taught: {str(n): merged(rows) for n in counts if (rows := results.of(taught, n))}
        for taught, counts in COUNTS.items()
    }
    others = {"baselines": BASELINES, "objectives": OBJECTIVES, "trade_off": tuple(RATES)}
    for name, recipes in others.items():
        report[name] = {
            recipe: {
                f"{taught}_{n}": merged(rows)
                for taught, counts in COUNTS.items()
                for n in counts
                if (rows := results.of(taught, n, recipe))
            }
            for recipe in recipes
        }
    return report


def merged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of one cell over its seeds; `interval` is the 95 % one of the follow-rate.

    `intervals` are those of other figures over seeds, `n` of how many answers, facts or texts each is,
    `moved` is of the first seed.
    """
    follow = [fmean(row["follow"].values()) for row in rows]
    items = sum(len(hits) for row in rows for hits in row["follow_items"].values())
    return {
        "follow_rate": fmean(follow),
        "interval": of_rates(follow, items),
        "follow_by_direction": {
            name: fmean(row["follow"][name] for row in rows) for name in rows[0]["follow"]
        },
        "paraphrase": fmean(fmean(row["paraphrase"].values()) for row in rows),
        **{name: _mean([row[name] for row in rows]) for name in _AVERAGED},
        "intervals": {name: over_seeds([row[name] for row in rows]) for name in _SPREAD if len(rows) > 1},
        "n": {name: sum(row["n"][name] for row in rows) for name in rows[0]["n"]},
        "moved": rows[0]["moved"],
        "seeds": len(rows),
        "items": items,
    }


def _mean(values: list[float | None]) -> float | None:
    """Return the mean of what was measured; None where nothing was, as `quality` of a toy without facts."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
