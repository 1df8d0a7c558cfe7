"""Open the SQLite file: one helper for every process, so that every connection has the same rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlite_utils.db import Database

from policies.errors import ConfigError, HeedloopError
from policies.messages import AlertEvent
from store.clock import now_ms, rfc3339
from store.migrations import migrations
from store.write_ahead_log import examine_log, log_is_short, set_aside

FILE_NAME = "heedloop.db"
_BUSY_TIMEOUT_MS = 15_000
_LOG_BYTES = 16 * 2**20
"""What the write-ahead log is cut to when a checkpoint has emptied it after a burst."""


class Store:
    """One connection to the store; `with` closes it. A process has one that writes.

    Readers open theirs by `open_read_only`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one write transaction: BEGIN IMMEDIATE, commit at the end, roll back on any error.

        Immediate, because a deferred transaction that reads first fails at once with "database is
        locked" when another process wrote in between, whatever the busy timeout.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have rolled it back already
                self.connection.execute("ROLLBACK")
            raise

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
    """Open the store under `home` for reading and writing; create and migrate it where needed.

    Who only reads, scripts of others above all, takes `open_read_only` or `store.open_store`. Raises
    ConfigError for a file that is no store, HeedloopError where the machine lets nobody in for now.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / FILE_NAME
    log = examine_log(path)  # SQLite drops the traces of a loss
    if log is not None and log.misleads:
        set_aside(path)
    connection = _connect(f"file:{path}?mode=rwc")
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; an older one needs a VACUUM
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        migrations.apply(Database(connection))
        if log is not None and log.lost:
            _record_loss(connection, log.lost)
    except sqlite3.DatabaseError as error:
        connection.close()
        if _is_of_the_moment(error):
            raise HeedloopError(f"{path} cannot be opened now: {error}") from error
        raise ConfigError(f"{path} is not a store of heedloop: {error}") from error
    connection.isolation_level = None
    return Store(connection, path)


def open_read_only(home: Path) -> Store:
    """Open an existing store for reading. Raises ConfigError when there is none, else as `open_store`."""
    path = home / FILE_NAME
    if not path.exists():
        raise ConfigError(
            f"no store at {path}: nothing has run there yet (start with `run.py up` or `ingest`)"
        )
    if log_is_short(path):
        raise ConfigError(
            f"{path}: its write-ahead log was cut and committed changes are gone; start `run.py up`, which"
            " records the loss (`doctor --store` says more)"
        )
    store = Store(_connect(f"file:{path}?mode=ro"), path)
    try:
        store.rows("SELECT 1 FROM state")
    except sqlite3.DatabaseError as error:
        store.close()
        if _is_of_the_moment(error):
            raise HeedloopError(f"{path} cannot be opened now: {error}") from error
        raise ConfigError(f"{path} cannot be read yet, or is not a store of heedloop: {error}") from error
    return store


def open_existing(home: Path) -> Store:
    """Open a store for reading and writing that something has run with. Raises as `open_read_only` does."""
    open_read_only(home).close()
    return open_store(home)


def _is_of_the_moment(error: sqlite3.DatabaseError) -> bool:
    """Say whether the machine is at fault (locked, full, an unreadable disk), and not what the file holds."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the low byte: the primary code
    return isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR


def _record_loss(connection: sqlite3.Connection, frames: int) -> None:
    """Write down what a cut log took away, count it, and have it said on the bus."""
    newest = connection.execute("SELECT event_id, received FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    event, received = (None, None) if newest is None else (newest["event_id"], newest["received"])
    since = "the beginning" if received is None else rfc3339(received)
    message = (
        f"the write-ahead log was cut: {frames} frames of committed changes are gone; logs are read again,"
        f" but send again what came by bus since {since}"
    )
    alert = AlertEvent(ts=rfc3339(now_ms()), message=message)
    with connection:
        connection.execute(
            "INSERT INTO log_losses (frames, newest_event, newest_ts, found) VALUES (?, ?, ?, ?)",
            (frames, event, received, now_ms()),
        )
        connection.execute(
            "INSERT INTO counters VALUES ('log_frames_lost', ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (frames,),
        )
        connection.execute(
            "INSERT INTO outbox (payload, created) VALUES (?, ?)", (alert.model_dump_json(), now_ms())
        )


def _connect(uri: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_MS / 1000)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"cannot open the store at {uri}: {error}") from error
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
