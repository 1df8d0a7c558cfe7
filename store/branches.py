"""Branches: names for the newest version of a line. The one that is checked out moves on with it."""

from __future__ import annotations

import sqlite3

from pydantic import BaseModel, ConfigDict

from store import state
from store.clock import now_ms
from store.database import Store
from store.versions import Version

MAIN = "main"
_CURRENT = "branch"
"""Where `store.state` keeps which one is checked out; `store.versions.add` moves that one."""


class Branch(BaseModel):
    """A name and the version that it stands for."""

    model_config = ConfigDict(frozen=True)

    name: str
    version_id: str
    created: int


def put(connection: sqlite3.Connection, name: str, version_id: str) -> None:
    """Let a name stand for a version; it may be new."""
    connection.execute(
        "INSERT INTO branches VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET version_id = excluded.version_id",
        (name, version_id, now_ms()),
    )


def switch(connection: sqlite3.Connection, name: str) -> None:
    """Make a branch the one that new versions move."""
    state.put(connection, _CURRENT, name)


def current(store: Store) -> str:
    """Return the branch that is checked out."""
    return str(state.get(store, _CURRENT, MAIN))


def get(store: Store, name: str) -> Branch | None:
    """Return a branch by its name, None for an unknown one."""
    return next((branch for branch in every_branch(store) if branch.name == name), None)


def every_branch(store: Store) -> list[Branch]:
    """Return all branches by name."""
    rows = store.rows("SELECT * FROM branches ORDER BY name")
    return [Branch(**{key: row[key] for key in row.keys()}) for row in rows]  # noqa: SIM118


def settle(connection: sqlite3.Connection, name: str, version: Version) -> None:
    """Write down the branch that is checked out, with the version in force, before another one is made."""
    connection.execute(
        "INSERT INTO branches VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", (name, version.id, now_ms())
    )
    switch(connection, name)
