"""Named facts about the running system that other processes look up (server address, live version ...)."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from store.clock import now_ms
from store.database import Store


def put(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Set one named value (JSON) inside the caller's write transaction."""
    connection.execute(
        "INSERT INTO state VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated = excluded.updated",
        (name, json.dumps(value), now_ms()),
    )


def get(store: Store, name: str, default: Any = None) -> Any:
    """Return one named value, or the default."""
    row = store.row("SELECT value FROM state WHERE name = ?", (name,))
    return default if row is None else json.loads(row["value"])
