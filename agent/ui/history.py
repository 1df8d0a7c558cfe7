"""The store as Datasette sees it: views made for people, through connections that cannot write."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import Any

from datasette.database import Database

from agent.ui.digest import DIGEST
from store.database import FILE_NAME, open_read_only

NAME = "heedloop"
KEYS: dict[str, tuple[str, ...]] = {
    "decisions": ("id",),
    "directions": ("id",),
    "labels": ("id",),
    "corrections": ("id",),
    "examples": ("id",),
    "steps": ("id",),
    "rows_of_steps": ("step", "slot"),
    "versions": ("id",),
    "probes": ("id",),
    "rollbacks": ("id",),
    "quarantine": ("id",),
    "reviews": ("id",),
    "turns": ("id",),
}
"""What a row of each view is known by."""

_SECRET = frozenset({"state"})
"""Tables that hold the broker's password: who may look may not give commands."""


class History(Database):  # type: ignore[misc]  # Datasette is not typed
    """The views of `views.sql` in place of the tables of a store.

    They are given out as tables with keys, so that Datasette pages by key and each row has a page.
    """

    def __init__(self, datasette: Any, home: Path) -> None:
        super().__init__(datasette, path=str(home / FILE_NAME), is_mutable=True)
        self._home = home

    def connect(self, write: bool = False) -> sqlite3.Connection:
        """Open the store for reading, with the digest and the views. Raises ValueError for writing."""
        if write:
            raise ValueError("the ui does not write to the store")
        connection = open_read_only(self._home).connection
        connection.execute("ATTACH ? AS digest", (f"file:{self._home / DIGEST}?mode=ro",))
        connection.executescript(files(__package__).joinpath("views.sql").read_text())
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_allow)
        return connection

    async def table_names(self) -> list[str]:
        """Return the views."""
        return list(KEYS)

    async def table_exists(self, table: str) -> bool:
        """Tell whether there is such a view."""
        return table in KEYS

    async def primary_keys(self, table: str) -> list[str]:
        """Return what a row is known by."""
        return list(KEYS.get(table, ()))

    async def view_names(self) -> list[str]:
        """Return nothing: views are paged by offset, and their rows have no pages."""
        return []

    async def get_view_definition(self, view: str) -> str | None:
        """Return None, as of a table."""
        return None

    async def get_table_definition(self, table: str, type_: str = "table") -> str | None:
        """Return the SQL of a view."""
        found = await self.execute("SELECT sql FROM sqlite_temp_master WHERE name = ?", (table,))
        row = found.first()
        return None if row is None else str(row[0])

    async def hidden_table_names(self) -> list[str]:
        """Return nothing: what is not shown cannot be reached either."""
        return []

    async def table_counts(self, limit: int = 10) -> dict[str, int | None]:
        """Return no counts: to count everything for a list of names takes too long."""
        return dict.fromkeys(KEYS)

    async def fts_table(self, table: str) -> str | None:
        """Return None: the metadata names the index of a view."""
        return None

    async def foreign_keys_for_table(self, table: str) -> list[dict[str, str]]:
        """Return nothing: links are made from the names of columns."""
        return []

    async def get_all_foreign_keys(self) -> dict[str, dict[str, list[Any]]]:
        """Return nothing, for each view."""
        return {name: {"incoming": [], "outgoing": []} for name in KEYS}

    async def attached_databases(self) -> list[Any]:
        """Return nothing: the digest is part of it."""
        return []


def _allow(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Keep questions of one's own from other files, and from where passwords stand."""
    secret = action == sqlite3.SQLITE_READ and first in _SECRET
    return sqlite3.SQLITE_DENY if secret or action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK
