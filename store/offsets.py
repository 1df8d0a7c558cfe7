"""How far each followed log file has been read. Written in the transaction that keeps what was read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from store.clock import now_ms
from store.database import Store

Identity = tuple[int, int]
"""Device and inode: a file keeps them when it is renamed."""


class Offset(NamedTuple):
    """A place in one file: the bytes before `offset` are in the store, and what they gave.

    Another fingerprint of those bytes is another file under the same identity. `state` is what the reader of
    the format goes on with. `records` were turns, noise or bad; a log's own metadata does not count.
    `alerted`: that nothing can be learned from the file was said.
    """

    device: int
    inode: int
    path: str
    offset: int = 0
    fingerprint: str = ""
    format: str | None = None
    state: str = ""
    records: int = 0
    decisions: int = 0
    alerted: bool = False

    @property
    def identity(self) -> Identity:
        """Return what tells this file from others."""
        return self.device, self.inode


_COLUMNS = ", ".join(Offset._fields)


def known(store: Store) -> list[Offset]:
    """Return the place reached in every file that was ever followed."""
    return [_offset(row) for row in store.rows(f"SELECT {_COLUMNS} FROM offsets")]


def put(connection: sqlite3.Connection, offset: Offset) -> None:
    """Set the place reached in a file."""
    connection.execute(
        f"INSERT OR REPLACE INTO offsets ({_COLUMNS}, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*offset, now_ms()),
    )


def untouched_since(store: Store, before: int) -> list[Offset]:
    """Return the places that were not moved since a time (UTC ms)."""
    return [_offset(r) for r in store.rows(f"SELECT {_COLUMNS} FROM offsets WHERE updated < ?", (before,))]


def forget(connection: sqlite3.Connection, identities: Iterable[Identity]) -> None:
    """Drop the places in files that are gone."""
    connection.executemany("DELETE FROM offsets WHERE device = ? AND inode = ?", identities)


def _offset(row: sqlite3.Row) -> Offset:
    return Offset(*row)._replace(alerted=bool(row["alerted"]))
