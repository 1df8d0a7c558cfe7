"""Events for the bus: written with the change they tell of, marked sent once the broker has them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from policies.messages import AlertEvent, OutboundEvent
from store import counters
from store.clock import now_ms, rfc3339
from store.database import Store

KEPT = 10_000
"""Sent events that stay to be looked at; older ones go."""


class Outgoing(NamedTuple):
    """One unsent event. `agent` is None where it concerns the server and not one agent."""

    id: int
    payload: str
    agent: str | None


def put(connection: sqlite3.Connection, event: OutboundEvent) -> None:
    """Queue one event inside the caller's write transaction."""
    connection.execute(
        "INSERT INTO outbox (payload, created) VALUES (?, ?)", (event.model_dump_json(), now_ms())
    )


def alert(connection: sqlite3.Connection, message: str) -> None:
    """Queue what a person should know, and count it."""
    counters.add(connection, "alerts")
    put(connection, AlertEvent(ts=rfc3339(now_ms()), message=message))


def unsent(store: Store, limit: int = 100) -> list[Outgoing]:
    """Return the oldest unsent events, each with the agent whose command or turn it answers."""
    rows = store.rows(
        "SELECT o.id, o.payload, coalesce(c.agent, e.agent) AS agent FROM outbox o"
        " LEFT JOIN commands c ON c.event_id = json_extract(o.payload, '$.reply_to')"
        " LEFT JOIN decisions d ON d.id = json_extract(o.payload, '$.decision_id')"
        " LEFT JOIN events e ON e.event_id = d.turn_event_id"
        " WHERE o.sent IS NULL ORDER BY o.id LIMIT ?",
        (limit,),
    )
    return [Outgoing(*row) for row in rows]


def mark_sent(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Record that the broker has acknowledged these events."""
    sent = now_ms()
    connection.executemany("UPDATE outbox SET sent = ? WHERE id = ?", [(sent, row_id) for row_id in ids])


def prune(connection: sqlite3.Connection, kept: int = KEPT) -> None:
    """Drop the oldest sent events beyond `kept` rows; unsent ones stay, however old."""
    connection.execute(
        "DELETE FROM outbox WHERE sent IS NOT NULL AND id <= (SELECT max(id) FROM outbox) - ?", (kept,)
    )
