"""What of the earlier learned is still followed: follow-rates of each direction after each version."""

from __future__ import annotations

import json
from typing import Any

from store.database import Store


def matrix(store: Store) -> dict[str, Any]:
    """Return `directions`, and `stages`, oldest first: one for each accepted probe run that scored any.

    A stage has `version`, `step`, `created`, by direction `[follow-rate, items]`, and `general`, the values
    of the other probes. `backward_transfer` is the mean, over directions scored more than once, of the last
    rate less the first (arXiv 1706.08840).
    """
    named = {row["id"]: row["direction"] or "" for row in store.rows("SELECT id, direction FROM examples")}
    runs = store.rows(
        "SELECT p.version_id, p.step_id, p.created, v.items, (SELECT json_group_object(o.name, o.value)"
        " FROM probe_values o WHERE o.probe_id = p.id AND o.name != 'follow') AS general"
        " FROM probes p JOIN probe_values v"
        " ON v.probe_id = p.id WHERE v.name = 'follow' AND p.verdict != 'breach' ORDER BY p.id"
    )
    stages = [
        {
            "version": run["version_id"],
            "step": run["step_id"],
            "created": run["created"],
            "follow": _rates(json.loads(run["items"]), named),
            "general": json.loads(run["general"]),
        }
        for run in runs
    ]
    directions = list(dict.fromkeys(name for stage in stages for name in stage["follow"]))
    seen = [[stage["follow"][name][0] for stage in stages if name in stage["follow"]] for name in directions]
    changes = [rates[-1] - rates[0] for rates in seen if len(rates) > 1]
    transfer = sum(changes) / len(changes) if changes else None
    return {"directions": directions, "stages": stages, "backward_transfer": transfer}


def _rates(items: dict[str, float], named: dict[str, str]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for example_id, score in items.items():
        if example_id in named:
            scores.setdefault(named[example_id], []).append(score)
    return {name: [sum(found) / len(found), len(found)] for name, found in scores.items()}
