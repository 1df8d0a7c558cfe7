"""How things went lately, as short series, oldest first: read by `status --watch` and `/metrics`."""

from __future__ import annotations

import json
from typing import Any

from store import forgetting
from store.database import Store

LATELY = 40
"""Steps, versions and probe runs that a series has at most; minutes of throughput."""
_MINUTE_MS = 60_000
_READ = 20_000
"""Newest rows that are looked at for a throughput: a busier half hour shows its end alone."""
_TURNS = "SELECT received FROM events ORDER BY seq DESC LIMIT ?"
_ANSWERS = "SELECT ended FROM answers ORDER BY seq DESC LIMIT ?"
_STEPS = "SELECT finished FROM steps WHERE state = 'confirmed' ORDER BY id DESC LIMIT ?"


def trends(store: Store, now_ms: int) -> dict[str, Any]:
    """Return turns, answers and steps a minute, losses, probes, follow-rates, versions and alerts."""
    return {
        "turns": per_minute(store, _TURNS, now_ms),
        "answers": per_minute(store, _ANSWERS, now_ms),
        "steps": per_minute(store, _STEPS, now_ms),
        "losses": losses(store),
        "probes": probes(store),
        "follow": follow(store),
        "versions": versions(store),
        "alerts": alerts(store),
    }


def per_minute(store: Store, times: str, now_ms: int) -> list[int]:
    """Return how many rows fell into each of the last minutes; `times` selects their milliseconds."""
    counts = [0] * LATELY
    for row in store.rows(times, (_READ,)):
        ago = (now_ms - row[0]) // _MINUTE_MS
        if 0 <= ago < LATELY:
            counts[-1 - ago] += 1
    return counts


def losses(store: Store) -> list[float]:
    """Return the loss of the last confirmed steps."""
    sql = "SELECT loss FROM steps WHERE state = 'confirmed' AND loss IS NOT NULL ORDER BY id DESC LIMIT ?"
    return [row["loss"] for row in store.rows(sql, (LATELY,))][::-1]


def probes(store: Store) -> dict[str, list[float]]:
    """Return the last values of each regression probe."""
    rows = store.rows(
        "SELECT v.name, v.value FROM probe_values v WHERE v.probe_id IN"
        " (SELECT id FROM probes ORDER BY id DESC LIMIT ?) ORDER BY v.probe_id",
        (LATELY,),
    )
    series: dict[str, list[float]] = {}
    for row in rows:
        series.setdefault(row["name"], []).append(row["value"])
    return series


def follow(store: Store) -> dict[str, list[float]]:
    """Return the follow-rate of each learned direction over the last accepted checks that scored it."""
    stages = forgetting.matrix(store)["stages"][-LATELY:]
    series: dict[str, list[float]] = {}
    for stage in stages:
        for direction, (rate, _) in stage["follow"].items():
            series.setdefault(direction, []).append(rate)
    return series


def versions(store: Store) -> list[dict[str, Any]]:
    """Return the last versions: id, kind, last step, when."""
    sql = "SELECT id, kind, last_step, created FROM versions ORDER BY rowid DESC LIMIT ?"
    return [dict(row) for row in store.rows(sql, (LATELY,))][::-1]


def alerts(store: Store) -> list[dict[str, Any]]:
    """Return the last alerts of the bus that are still kept: ts, message."""
    rows = store.rows(
        "SELECT payload FROM outbox WHERE json_extract(payload, '$.type') = 'alert' ORDER BY id DESC LIMIT ?",
        (LATELY,),
    )
    return [json.loads(row["payload"]) for row in rows][::-1]


def answer_times(store: Store) -> list[int]:
    """Return how many milliseconds each of the newest finished answers of the server took, ascending."""
    rows = store.rows(
        "SELECT ended - started AS ms FROM answers WHERE outcome = 'finished' AND seq >"
        " (SELECT max(seq) FROM answers) - ?",
        (5 * LATELY,),
    )
    return sorted(row["ms"] for row in rows)


def server_requests(store: Store, now_ms: int) -> float:
    """Return how many requests the server worked on at once, the mean of the last minute.

    Of those that have ended: their time in that minute over its length (Little's law).
    """
    since = now_ms - _MINUTE_MS
    row = store.row(
        "SELECT sum(ended - max(started, ?)) AS ms FROM"
        " (SELECT started, ended FROM answers ORDER BY seq DESC LIMIT ?) WHERE ended > ?",
        (since, _READ, since),
    )
    return 0.0 if row is None else (row["ms"] or 0) / _MINUTE_MS
