"""Verdicts on (decision, direction): the labels in force, the votes they were made of, and both as they were.

A row that no longer holds moves to the history with the time it was replaced: what was said is never lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

from policies.label import Label
from store.clock import now_ms

Table = Literal["labels", "votes"]

_COLUMNS = "decision_id, direction_id, verdict, confidence, labeller, evidence, created"
_PLACE = "decision_id = ? AND direction_id IS ? AND labeller = ?"


def replace(connection: sqlite3.Connection, decision_id: str, labels: Sequence[Label]) -> list[Label]:
    """Make these the labels of a decision, one per direction. Returns those that are new or have changed.

    What an earlier judgement said of a direction goes, also where another labeller has the word now.
    """
    return _replace(connection, "labels", decision_id, labels, of(connection, decision_id))


def replace_votes(
    connection: sqlite3.Connection, decision_id: str, votes: Sequence[Label], *, labellers: Sequence[str] = ()
) -> list[Label]:
    """Make these the votes on a decision; with `labellers`, of those alone. Returns what is new."""
    old = [vote for vote in votes_on(connection, decision_id) if not labellers or vote.labeller in labellers]
    return _replace(connection, "votes", decision_id, votes, old)


def of(connection: sqlite3.Connection, decision_id: str) -> list[Label]:
    """Return every label of one decision that holds, oldest first."""
    return _holding(connection, "labels", decision_id)


def votes_on(connection: sqlite3.Connection, decision_id: str) -> list[Label]:
    """Return every labeller's vote on one decision that holds, oldest first."""
    return _holding(connection, "votes", decision_id)


def history(connection: sqlite3.Connection, decision_id: str) -> list[dict[str, Any]]:
    """Return the labels and votes on one decision that hold no longer, oldest first."""
    rows = connection.execute("SELECT * FROM label_history WHERE decision_id = ? ORDER BY id", (decision_id,))
    return [dict(row) for row in rows]


def uncertain(connection: sqlite3.Connection, above: float, below: float, limit: int) -> list[Label]:
    """Return the surest vote on each decision of which nothing is sure, those nearest to a coin's toss first.

    Nothing sure: no label of `below` or more, no correction of its turn, but a vote of at least `above`.
    """
    rows = connection.execute(
        "SELECT v.*, max(v.confidence) FROM votes v JOIN decisions d ON d.id = v.decision_id"
        " WHERE v.verdict != 'unknown' AND v.confidence >= ?"
        " AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.decision_id = d.id AND l.confidence >= ?)"
        " AND NOT EXISTS (SELECT 1 FROM corrections c WHERE c.turn_event_id = d.turn_event_id)"
        " GROUP BY v.decision_id ORDER BY abs(v.confidence - 0.5), v.id DESC LIMIT ?",
        (above, below, limit),
    )
    return [_label(row) for row in rows]


def _replace(
    connection: sqlite3.Connection,
    table: Table,
    decision_id: str,
    new: Sequence[Label],
    old: Sequence[Label],
) -> list[Label]:
    now = now_ms()
    for label in old:
        if label not in new:
            place = (decision_id, label.direction_id, label.labeller)
            connection.execute(
                "INSERT INTO label_history (kind, decision_id, direction_id, verdict, confidence, labeller,"
                f" evidence, created, replaced) SELECT ?, {_COLUMNS}, ? FROM {table} WHERE {_PLACE}",
                (table, now, *place),
            )
            connection.execute(f"DELETE FROM {table} WHERE {_PLACE}", place)
    changed = [label for label in new if label not in old]
    connection.executemany(
        f"INSERT INTO {table} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (x.decision_id, x.direction_id, x.verdict, x.confidence, x.labeller, x.evidence, now)
            for x in changed
        ],
    )
    return changed


def _holding(connection: sqlite3.Connection, table: Table, decision_id: str) -> list[Label]:
    rows = connection.execute(f"SELECT * FROM {table} WHERE decision_id = ? ORDER BY id", (decision_id,))
    return [_label(row) for row in rows]


def _label(row: sqlite3.Row) -> Label:
    return Label(**{name: row[name] for name in Label.model_fields})
