"""Checkpoints of the write-ahead log: at quiet times it is copied into the database and cut to nothing.

SQLite copies by itself after every 1,000 pages, but a reader that stays keeps the log growing, and without a
quiet moment the file is never cut.
"""

from __future__ import annotations

from store.database import Store
from store.write_ahead_log import log_bytes

_PATIENCE_MS = 200


def checkpoint(store: Store, above: int = 0) -> int:
    """Copy the log and cut it, where it is longer than `above` bytes. Returns its size afterwards.

    Where readers or writers are in the way for longer than a moment, it copies what it can.
    """
    if log_bytes(store.path) <= above:
        return log_bytes(store.path)
    (timeout,) = store.rows("PRAGMA busy_timeout")[0]
    store.connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    try:
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        store.connection.execute(f"PRAGMA busy_timeout = {timeout}")
    return log_bytes(store.path)
