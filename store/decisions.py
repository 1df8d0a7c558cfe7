"""Decision points and the directions in force at each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from policies.decision import DecisionPoint
from policies.direction import Direction
from store.clock import now_ms


def insert(connection: sqlite3.Connection, point: DecisionPoint) -> bool:
    """Keep one decision point with its directions. Returns False where it was known."""
    row = connection.execute(
        "INSERT INTO decisions VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING id",
        (point.id, point.conversation_id, point.turn.event_id, point.call_index, now_ms()),
    ).fetchone()
    if row is None:
        return False
    insert_directions(connection, point.id, point.directions)
    return True


def insert_directions(
    connection: sqlite3.Connection, decision_id: str, directions: Iterable[Direction]
) -> None:
    """Keep directions, and that they hold for a decision; what is known stays as it is."""
    directions = tuple(directions)
    connection.executemany(
        "INSERT INTO directions VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        [(d.id, d.conversation_id, d.event_id, d.text, d.scope) for d in directions],
    )
    connection.executemany(
        "INSERT INTO decision_directions VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(decision_id, direction.id) for direction in directions],
    )
