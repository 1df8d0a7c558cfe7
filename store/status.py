"""What is going on right now, as one plain dictionary: read by `status`, `/metrics` and the bus."""

from __future__ import annotations

import re
from typing import Any

from store import examples, rehearsals, state, versions
from store.database import Store

_QUEUES = {
    "corrections_waiting": "SELECT count(*) FROM corrections WHERE state = 'waiting'",
    "examples_ready": "SELECT count(*) FROM examples e WHERE kind = 'correction' AND state = 'ready'"
    f" AND quota > {examples.TRAINED}",
    "examples_waiting_for_replay": "SELECT CASE WHEN EXISTS"
    " (SELECT 1 FROM examples WHERE kind = 'general' AND state = 'ready') THEN 0 ELSE"
    " (SELECT count(*) FROM examples WHERE kind = 'correction' AND state = 'ready' AND parent IS NULL) END",
    "examples_needing_pair": "SELECT count(*) FROM examples WHERE kind = 'correction'"
    " AND state = 'needs_pair'",
    "opinions_waiting": "SELECT count(*) FROM opinions_waiting",
    "commands_waiting": "SELECT count(*) FROM commands WHERE state = 'waiting'",
    "events_to_publish": "SELECT count(*) FROM outbox WHERE sent IS NULL",
}
_WORST = """SELECT verdict, count(*) AS n FROM (
    SELECT CASE WHEN sum(verdict = 'ignored') THEN 'ignored' WHEN sum(verdict = 'followed') THEN 'followed'
           ELSE 'unknown' END AS verdict FROM labels GROUP BY decision_id) GROUP BY verdict"""


def summary(store: Store) -> dict[str, Any]:
    """Return processes, counts, queues, the version in force, the last step and the last probe."""
    version = versions.in_force(store)
    return {
        "agent": state.get(store, "agent"),
        "server_url": state.get(store, "server_url"),
        "http_url": state.get(store, "http_url"),
        "broker_url": _without_password(state.get(store, "broker_url")),
        "activity": state.get(store, "activity"),
        "paused": bool(state.get(store, "paused", False)),
        "pace": state.get(store, "pace"),
        "prefix_cache": state.get(store, "prefix_cache"),
        **readiness(store),
        "events": _count(store, "SELECT count(*) FROM events"),
        "decisions": _count(store, "SELECT count(*) FROM decisions"),
        "labels": _counts(store, _WORST),
        "corrections": _count(store, "SELECT count(*) FROM corrections"),
        "examples": _counts(
            store, "SELECT kind || '_' || state, count(*) FROM examples GROUP BY kind, state"
        ),
        "rehearsals": rehearsals.counts(store),
        "queues": queues(store),
        "steps": _counts(store, "SELECT state, count(*) FROM steps GROUP BY state"),
        "last_step": last_step(store),
        "replay_share": replay_share(store),
        "version": None if version is None else version.model_dump(),
        "versions": _counts(store, "SELECT kind, count(*) FROM versions GROUP BY kind"),
        "last_probe": last_probe(store),
        "probes": _counts(store, "SELECT verdict, count(*) FROM probes GROUP BY verdict"),
        "held": _counts(
            store, "SELECT subject, count(*) FROM reviews WHERE verdict IS NULL GROUP BY subject"
        ),
        "dead_letters": _counts(store, "SELECT reason, count(*) FROM dead_letters GROUP BY reason"),
        "counters": _counts(store, "SELECT name, value FROM counters"),
    }


def readiness(store: Store) -> dict[str, Any]:
    """Return what says whether the system can do its work; nothing is counted."""
    return {
        "learner_attached": bool(state.get(store, "learner", {}).get("ready")),
        "processes": [dict(row) for row in store.rows("SELECT * FROM processes ORDER BY name")],
    }


def queues(store: Store) -> dict[str, int]:
    """Return how many rows wait in each queue."""
    return {name: _count(store, sql) for name, sql in _QUEUES.items()}


def replay_share(store: Store) -> float | None:
    """Return the share of general rows over all rows of confirmed steps, None before the first."""
    row = store.row(
        "SELECT avg(r.kind = 'general') AS share FROM step_rows r JOIN steps s ON s.id = r.step_id"
        " WHERE s.state = 'confirmed'"
    )
    return None if row is None else row["share"]


def last_step(store: Store) -> dict[str, Any] | None:
    """Return the newest confirmed step: id, loss, learning rate, replay share, seconds, bytes, when."""
    row = store.row(
        "SELECT id, loss, learning_rate, replay_share, seconds, changed_bytes, finished FROM steps"
        " WHERE state = 'confirmed' ORDER BY id DESC LIMIT 1"
    )
    return None if row is None else dict(row)


def last_probe(store: Store) -> dict[str, Any] | None:
    """Return the newest probe run with its values."""
    row = store.row("SELECT * FROM probes ORDER BY id DESC LIMIT 1")
    if row is None:
        return None
    values = store.rows("SELECT name, value FROM probe_values WHERE probe_id = ?", (row["id"],))
    return {**dict(row), "values": {value["name"]: value["value"] for value in values}}


def _without_password(url: str | None) -> str | None:
    return None if url is None else re.sub(r"(?<=://)([^:/@]*):[^@]*@", r"\1:***@", url)


def _count(store: Store, sql: str) -> int:
    row = store.row(sql)
    return 0 if row is None else int(row[0])


def _counts(store: Store, sql: str) -> dict[str, int]:
    return {row[0]: row[1] for row in store.rows(sql)}
