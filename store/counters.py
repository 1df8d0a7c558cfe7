"""Running totals that no table can give: what was dropped, repeated or rejected."""

from __future__ import annotations

import sqlite3

from store.database import Store


def add(connection: sqlite3.Connection, name: str, amount: int = 1) -> None:
    """Raise one counter inside the caller's write transaction."""
    if amount:
        connection.execute(
            "INSERT INTO counters VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, amount),
        )


def read(store: Store) -> dict[str, int]:
    """Return every counter by name."""
    return {row["name"]: row["value"] for row in store.rows("SELECT name, value FROM counters ORDER BY name")}
