"""Runs of the regression probes: each value with the score of every item, so that runs compare in pairs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Literal

from store.clock import now_ms
from store.database import Store

ProbeVerdict = Literal["baseline", "accept", "breach"]


def add(
    connection: sqlite3.Connection,
    *,
    step_id: int,
    version_id: str | None,
    verdict: ProbeVerdict,
    reason: str,
    seconds: float,
    scores: Mapping[str, Mapping[str, float]],
) -> int:
    """Write one run: `scores[probe][item]`. Returns its id."""
    probe_id = connection.execute(
        "INSERT INTO probes (step_id, version_id, verdict, reason, seconds, created)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (step_id, version_id, verdict, reason, seconds, now_ms()),
    ).lastrowid
    assert probe_id is not None
    connection.executemany(
        "INSERT INTO probe_values VALUES (?, ?, ?, ?)",
        [
            (probe_id, name, mean(list(items.values())), json.dumps(items))
            for name, items in scores.items()
            if items
        ],
    )
    return probe_id


def baseline(store: Store) -> dict[str, dict[str, float]]:
    """Return the scores of the base model, empty before they were measured."""
    row = store.row("SELECT id FROM probes WHERE verdict = 'baseline' ORDER BY id DESC LIMIT 1")
    return {} if row is None else scores(store, row["id"])


def last_accepted(store: Store) -> dict[str, dict[str, float]]:
    """Return the scores of the last run that was not a breach."""
    row = store.row("SELECT id FROM probes WHERE verdict != 'breach' ORDER BY id DESC LIMIT 1")
    return {} if row is None else scores(store, row["id"])


def best_follow(store: Store, runs: int = 50) -> dict[str, dict[str, float]]:
    """Return the best score of each learned example in the last accepted runs: no slow fall hides."""
    rows = store.rows(
        "SELECT v.items FROM probe_values v JOIN probes p ON p.id = v.probe_id"
        " WHERE v.name = 'follow' AND p.verdict != 'breach' ORDER BY p.id DESC LIMIT ?",
        (runs,),
    )
    best: dict[str, float] = {}
    for row in rows:
        for item, score in json.loads(row["items"]).items():
            best[item] = max(best.get(item, 0.0), score)
    return {"follow": best}


def count(store: Store) -> int:
    """Return how many runs there were."""
    row = store.row("SELECT count(*) AS n FROM probes")
    return 0 if row is None else int(row["n"])


def complete_baseline(connection: sqlite3.Connection, name: str, items: Mapping[str, float]) -> None:
    """Add to the baseline the base model's scores of a probe that it did not have."""
    row = connection.execute("SELECT max(id) AS id FROM probes WHERE verdict = 'baseline'").fetchone()
    connection.execute(
        "INSERT INTO probe_values VALUES (?, ?, ?, ?) ON CONFLICT (probe_id, name)"
        " DO UPDATE SET value = excluded.value, items = excluded.items",
        (row["id"], name, mean(list(items.values())), json.dumps(items)),
    )


def scores(store: Store, probe_id: int) -> dict[str, dict[str, float]]:
    """Return `scores[probe][item]` of one run."""
    rows = store.rows("SELECT name, items FROM probe_values WHERE probe_id = ?", (probe_id,))
    return {row["name"]: json.loads(row["items"]) for row in rows}


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)
