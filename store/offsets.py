"""How far each followed log file has been read. Written in the transaction that keeps what was read."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from store.clock import now_ms


class Offset(NamedTuple):
    """A place in one file: bytes before `offset` of the file with this `inode` are in the store."""

    path: str
    inode: int
    offset: int


def get(connection: sqlite3.Connection, path: str) -> Offset | None:
    """Return the place reached in a file, None for a file never read."""
    row = connection.execute("SELECT path, inode, offset FROM offsets WHERE path = ?", (path,)).fetchone()
    return None if row is None else Offset(*row)


def put(connection: sqlite3.Connection, place: Offset) -> None:
    """Set the place reached in a file."""
    connection.execute(
        "INSERT INTO offsets VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
        " inode = excluded.inode, offset = excluded.offset, updated = excluded.updated",
        (*place, now_ms()),
    )
