"""What the demo reads from the store, with a read-only connection, as `history` and `status` do."""

from __future__ import annotations

from typing import Any

from policies.errors import HeedloopError
from store import probes, status, steps
from store.database import Store


def confirmed_steps(store: Store) -> int:
    """Return how many training steps are in the live weights."""
    return _number(store, "SELECT count(*) FROM steps WHERE state = 'confirmed'")


def last_written(store: Store) -> int:
    """Return the newest step that was ever in the live weights, also one that was rolled back since."""
    return _number(store, "SELECT max(id) FROM steps WHERE state IN ('confirmed', 'rolled_back')")


def last_loss(store: Store) -> float | None:
    """Return the loss of the newest confirmed step."""
    row = store.row("SELECT loss FROM steps WHERE state = 'confirmed' ORDER BY id DESC LIMIT 1")
    return None if row is None else float(row["loss"])


def learned(store: Store, corrections: int) -> bool:
    """Tell whether so many corrections are trained on in full and part of a durable version.

    Raises HeedloopError when the guard has rolled the training back.
    """
    undone = store.row("SELECT note FROM versions WHERE kind = 'rollback' ORDER BY rowid LIMIT 1")
    if undone is not None:
        raise HeedloopError(f"the guard rolled back the corrections: {undone['note']}")
    trained = _number(
        store,
        "SELECT count(*) FROM examples e WHERE e.origin = 'correction' AND e.state = 'ready' AND e.quota <="
        " (SELECT count(*) FROM step_rows r JOIN steps s ON s.id = r.step_id WHERE r.example_id = e.id"
        "  AND r.kind = 'correction' AND s.state = 'confirmed')",
    )
    durable = _number(store, "SELECT ifnull(max(last_step), -1) FROM versions WHERE kind = 'train'")
    return trained >= corrections and durable == steps.last_confirmed(store)


def train_seconds(store: Store) -> float:
    """Return the seconds from the intent of the first step to the probe that accepted the last."""
    began = _number(store, "SELECT min(intent) FROM steps")
    ended = _number(
        store, "SELECT max(created) FROM probes WHERE verdict = 'accept' AND version_id IS NOT NULL"
    )
    return round((ended - began) / 1000, 1)


def replay_share(store: Store) -> float | None:
    """Return the share of general rows over all confirmed steps, summed from the step rows."""
    return status.replay_share(store)


def rollback_after(store: Store, step: int) -> dict[str, Any] | None:
    """Return the rollback that undid the steps after `step`: reason, when, and whether a probe found it."""
    version = store.row("SELECT * FROM versions WHERE kind = 'rollback' ORDER BY rowid DESC LIMIT 1")
    told = store.row(
        "SELECT created FROM outbox WHERE json_extract(payload, '$.type') = 'rollback'"
        " ORDER BY id DESC LIMIT 1"
    )
    if version is None or told is None:
        return None
    breach = store.row("SELECT * FROM probes WHERE verdict = 'breach' AND step_id > ?", (step,))
    return {"reason": version["note"], "restored": told["created"], "found_by_probe": breach is not None}


def baseline(store: Store) -> dict[str, float] | None:
    """Return what all probes found on the base model, None before they were run."""
    return next((run["values"] for run in probe_runs(store) if run["verdict"] == "baseline"), None)


def probe_runs(store: Store) -> list[dict[str, Any]]:
    """Return every probe run with the mean of each probe, and its `change` since the baseline.

    A change compares only the items that both runs have: a quick run has fewer than a full one.
    """
    runs = [dict(row) for row in store.rows("SELECT * FROM probes ORDER BY id")]
    base = probes.baseline(store)
    for run in runs:
        found = probes.scores(store, run["id"])
        run["values"] = {name: probes.mean(list(items.values())) for name, items in found.items()}
        run["change"] = {name: _change(items, base.get(name, {})) for name, items in found.items()}
    return runs


def _change(now: dict[str, float], before: dict[str, float]) -> float:
    both = [item for item in now if item in before]
    return sum(now[item] - before[item] for item in both) / len(both) if both else 0.0


def _number(store: Store, sql: str, *parameters: object) -> int:
    row = store.row(sql, parameters)
    return 0 if row is None or row[0] is None else int(row[0])
