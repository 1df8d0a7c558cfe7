"""Records that could not be read, kept with the reason so that nothing vanishes in silence."""

from __future__ import annotations

import hashlib
import sqlite3

from store import counters
from store.clock import now_ms
from store.database import Store

MAX_KEPT = 64 * 1024
"""Bytes of a payload that are kept; `bytes` holds its true size."""


def keep(
    connection: sqlite3.Connection, source: str, reason: str, payload: bytes | str, size: int | None = None
) -> None:
    """Keep one rejected record; `size` is its true size in bytes where `payload` is only its start.

    One that came from the same place before, as when a file is read again, is only counted.
    """
    raw = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    (repeats,) = connection.execute(
        "INSERT INTO dead_letters (source, reason, payload, bytes, received, digest)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (source, reason, digest) DO UPDATE SET repeats = repeats + 1 RETURNING repeats",
        (source, reason, raw[:MAX_KEPT].decode("utf-8", "replace"), size or len(raw), now_ms(), digest),
    ).fetchone()
    counters.add(connection, "dead_letters_repeated" if repeats else "dead_letters")


def recall(connection: sqlite3.Connection, reason: str, event_id: str) -> None:
    """Drop the letter of a record that has found its place after all."""
    dropped = connection.execute(
        "DELETE FROM dead_letters WHERE reason = ? AND json_valid(payload)"
        " AND json_extract(payload, '$.event_id') = ?",
        (reason, event_id),
    ).rowcount
    counters.add(connection, "dead_letters_recalled", dropped)


def recent(store: Store, limit: int = 20) -> list[sqlite3.Row]:
    """Return the newest dead letters first."""
    return store.rows("SELECT * FROM dead_letters ORDER BY id DESC LIMIT ?", (limit,))
