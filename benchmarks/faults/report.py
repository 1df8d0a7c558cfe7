"""What the rounds come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums, and the recovery times by victim: n, p50, p99."""
    victims = sorted({line["victim"] for line in lines})
    kinds = sorted({line["fault"] for line in lines})
    return {
        "rounds": len(lines),
        **{name: sum(line[name] for line in lines) for name in ("lost", "duplicated", "wedged")},
        "weights_mismatch": sum(line["weights_mismatch"] for line in lines),
        "late": sum(not line["in_time"] for line in lines),
        "inconsistent": sum(bool(line["findings"]) for line in lines),
        "recovery_s": {
            victim: times([line["recovery_s"] for line in lines if line["victim"] == victim])
            for victim in victims
        },
        "faults": {kind: sum(line["fault"] == kind for line in lines) for kind in kinds},
        "minutes": round(sum(line["round_s"] for line in lines) / 60, 1),
    }


def times(values: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile (nearest rank), and of how many."""
    ranked = sorted(values)
    rank = max(0, -(-99 * len(ranked) // 100) - 1)
    return {"n": len(ranked), "p50": ranked[(len(ranked) - 1) // 2], "p99": ranked[rank]}
