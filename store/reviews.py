"""What waits for a person's word before it may train: corrections and examples, each with the reason."""

from __future__ import annotations

import sqlite3
from typing import Literal

from store import counters
from store.clock import now_ms
from store.database import Store

Subject = Literal["correction", "example"]
Verdict = Literal["accepted", "refused"]


def ask(connection: sqlite3.Connection, subject: Subject, subject_id: str, reason: str) -> None:
    """Put one thing down for review. What a person has decided already stays decided."""
    row = connection.execute(
        "INSERT INTO reviews VALUES (?, ?, ?, ?, NULL, NULL) ON CONFLICT DO NOTHING RETURNING id",
        (subject, subject_id, reason, now_ms()),
    ).fetchone()
    counters.add(connection, f"held_{subject}s", 0 if row is None else 1)


def decide(connection: sqlite3.Connection, subject: Subject, subject_id: str, verdict: Verdict) -> None:
    """Record a person's word."""
    connection.execute(
        "UPDATE reviews SET verdict = ?, decided = ? WHERE subject = ? AND id = ?",
        (verdict, now_ms(), subject, subject_id),
    )


def is_accepted(connection: sqlite3.Connection, subject: Subject, subject_id: str) -> bool:
    """Tell whether a person has let it through."""
    row = connection.execute(
        "SELECT 1 FROM reviews WHERE subject = ? AND id = ? AND verdict = 'accepted'", (subject, subject_id)
    ).fetchone()
    return row is not None


def subject_of(store: Store, subject_id: str) -> Subject | None:
    """Return what waits under an id, None where nothing does."""
    row = store.row("SELECT subject FROM reviews WHERE id = ? AND verdict IS NULL", (subject_id,))
    return None if row is None else row["subject"]


def waiting(store: Store) -> list[sqlite3.Row]:
    """Return what waits, oldest first: subject, id, reason, created, author, direction, chosen."""
    return store.rows(
        "SELECT r.subject, r.id, r.reason, r.created, ifnull(c.author, e.author) AS author,"
        " ifnull(c.direction, e.direction) AS direction, ifnull(c.corrected, e.chosen) AS chosen"
        " FROM reviews r LEFT JOIN corrections c ON r.subject = 'correction' AND c.event_id = r.id"
        " LEFT JOIN examples e ON r.subject = 'example' AND e.id = r.id"
        " WHERE r.verdict IS NULL ORDER BY r.created, r.id"
    )
