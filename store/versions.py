"""Durable versions of the live weights. The newest row is the version in force."""

from __future__ import annotations

import sqlite3
from typing import Literal

from pydantic import BaseModel, ConfigDict

from store.clock import new_id, now_ms
from store.database import Store

VersionKind = Literal["base", "train", "rollback"]


class Version(BaseModel):
    """A state of the live weights that was written to disk. `file` is None for the base's own bytes."""

    model_config = ConfigDict(frozen=True)

    id: str
    parent: str | None
    kind: VersionKind
    first_step: int | None
    last_step: int | None
    file: str | None
    fingerprint: str
    state: Literal["good", "dropped"] = "good"
    note: str = ""
    created: int


def new_version(
    parent: Version | None,
    kind: VersionKind,
    *,
    first_step: int | None,
    last_step: int | None,
    file: str | None,
    fingerprint: str,
    note: str = "",
) -> Version:
    """Make a version with a fresh id and the time of now; nothing is written."""
    return Version(
        id=new_id(),
        parent=None if parent is None else parent.id,
        kind=kind,
        first_step=first_step,
        last_step=last_step,
        file=file,
        fingerprint=fingerprint,
        note=note,
        created=now_ms(),
    )


def add(connection: sqlite3.Connection, version: Version) -> None:
    """Write a version's row; from then on it is the one in force."""
    connection.execute(
        "INSERT INTO versions VALUES"
        " (:id, :parent, :kind, :first_step, :last_step, :file, :fingerprint, :state, :note, :created)",
        version.model_dump(),
    )


def in_force(store: Store) -> Version | None:
    """Return the newest version, None before the first start."""
    return _version(store.row("SELECT * FROM versions ORDER BY rowid DESC LIMIT 1"))


def get(store: Store, version_id: str) -> Version | None:
    """Return one version by its id or by the start of it, when only one fits."""
    rows = store.rows("SELECT * FROM versions WHERE id = ? OR id LIKE ? || '%'", (version_id, version_id))
    return _version(rows[0]) if len(rows) == 1 else None


def every(store: Store) -> list[Version]:
    """Return all versions, oldest first."""
    versions = (_version(row) for row in store.rows("SELECT * FROM versions ORDER BY rowid"))
    return [version for version in versions if version is not None]


def retire(connection: sqlite3.Connection, version_id: str) -> None:
    """Record that a version's file was removed to save space."""
    connection.execute("UPDATE versions SET state = 'dropped' WHERE id = ?", (version_id,))


def _version(row: sqlite3.Row | None) -> Version | None:
    return None if row is None else Version(**{name: row[name] for name in row.keys()})  # noqa: SIM118
