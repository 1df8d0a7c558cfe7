"""What the rounds come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COUNTED = ("lost", "duplicated", "wedged", "weights_mismatch", "unproven", "up_died")
"""What no round may have any of."""


def summary(lines: Sequence[dict[str, Any]], patience: float = 1.0) -> dict[str, Any]:
    """Return the sums, the recovery times of all and by victim (n, p50, p99), and whether that is good.

    A round that is later than stated fails the run, unless more patience was asked for: then it is told.
    """
    found = _sums(lines) | {"patience": patience, "late_fails": patience <= 1}
    failing = (*COUNTED, "inconsistent", *(["late"] if found["late_fails"] else []))
    return found | {"failed": [name for name in failing if found[name]]}


def _sums(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    victims = sorted({line["victim"] for line in lines})
    kinds = sorted({line["fault"] for line in lines})
    return {
        "rounds": len(lines),
        **{name: sum(line[name] for line in lines) for name in COUNTED},
        "up_restarted": sum(line["up_restarted"] for line in lines),
        "late": sum(not line["in_time"] for line in lines),
        "inconsistent": sum(bool(line["findings"]) for line in lines),
        "recovery_s": times([line["recovery_s"] for line in lines]),
        "recovery_s_by_victim": {
            victim: times([line["recovery_s"] for line in lines if line["victim"] == victim])
            for victim in victims
        },
        "faults": {kind: sum(line["fault"] == kind for line in lines) for kind in kinds},
        "minutes": round(sum(line["round_s"] for line in lines) / 60, 1),
    }


def passed(found: dict[str, Any]) -> bool:
    """Say whether a summary has nothing to report."""
    return not found["failed"]


def is_good(line: dict[str, Any]) -> bool:
    """Say the same of one round, which should be in time, however patient the run is."""
    return line["in_time"] and not line["findings"] and not any(line[name] for name in COUNTED)


def times(values: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile (nearest rank), and of how many."""
    ranked = sorted(values)
    rank = max(0, -(-99 * len(ranked) // 100) - 1)
    return {"n": len(ranked), "p50": ranked[(len(ranked) - 1) // 2], "p99": ranked[rank]}
