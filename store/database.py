"""Open the SQLite file: one helper for every process, so that every connection has the same rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils.db import Database

from policies.errors import ConfigError
from store.migrations import migrations

FILE_NAME = "heedloop.db"
_BUSY_TIMEOUT_MS = 15_000


class Store:
    """One connection to the store. A process has one that writes; readers open `read_only`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one write transaction: BEGIN IMMEDIATE, commit at the end, roll back on any error.

        Immediate, because a deferred transaction that reads first fails at once with "database is
        locked" when another process wrote in between, whatever the busy timeout.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self.connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        first: sqlite3.Row | None = self.connection.execute(sql, parameters).fetchone()
        return first

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def open_store(home: Path) -> Store:
    """Open the store under `home` for reading and writing; create and migrate it where needed."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / FILE_NAME
    connection = _connect(f"file:{path}?mode=rwc")
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrations.apply(Database(connection))
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is not a store of heedloop: {error}") from error
    connection.isolation_level = None
    return Store(connection, path)


def open_read_only(home: Path) -> Store:
    """Open an existing store for reading. Raises ConfigError when there is none."""
    path = home / FILE_NAME
    if not path.exists():
        raise ConfigError(
            f"no store at {path}: nothing has run there yet (start with `run.py up` or `ingest`)"
        )
    store = Store(_connect(f"file:{path}?mode=ro"), path)
    try:
        store.rows("SELECT 1 FROM state")
    except sqlite3.DatabaseError as error:
        store.close()
        raise ConfigError(f"{path} cannot be read yet, or is not a store of heedloop: {error}") from error
    return store


def _connect(uri: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_MS / 1000)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"cannot open the store at {uri}: {error}") from error
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
