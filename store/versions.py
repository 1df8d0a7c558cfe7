"""Durable versions of the live weights: a graph by their parents. The newest row is the version in force."""

from __future__ import annotations

import sqlite3
from typing import Literal

from pydantic import BaseModel, ConfigDict

from policies.errors import InputError
from store.clock import new_id, now_ms
from store.database import Store

VersionKind = Literal["base", "train", "rollback", "vector", "steer"]
VersionState = Literal["good", "dropped", "damaged"]

_COLUMNS = (
    "id, parent, kind, first_step, last_step, file, sha256, bytes, full_bytes, save_ms, trainer,"
    " trainer_sha256, trainer_bytes, moments, fingerprint, state, note, created"
)


class Version(BaseModel):
    """A state of the live weights that was written to disk. `file` is None for the base's own bytes.

    `bytes` is the size of the file, `full_bytes` that of its tensors uncompressed, `save_ms` the time of
    writing it and the trainer's state. `trainer` is the file of that state; None: going back here begins with
    fresh moments. `moments` says what training went on with when this version came into force.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    parent: str | None
    kind: VersionKind
    first_step: int | None
    last_step: int | None
    file: str | None
    sha256: str | None = None
    bytes: int | None = None
    full_bytes: int | None = None
    save_ms: float | None = None
    trainer: str | None = None
    trainer_sha256: str | None = None
    trainer_bytes: int | None = None
    moments: Literal["kept", "restored", "fresh"] = "fresh"
    fingerprint: str
    state: VersionState = "good"
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
    """Write a version's row; from then on it is in force; the branch that is checked out moves to it."""
    named = ", ".join(f":{name.strip()}" for name in _COLUMNS.split(","))
    connection.execute(f"INSERT INTO versions ({_COLUMNS}) VALUES ({named})", version.model_dump())
    connection.execute(
        "UPDATE branches SET version_id = ? WHERE name ="
        " (SELECT json_extract(value, '$') FROM state WHERE name = 'branch')",
        (version.id,),
    )


def in_force(store: Store) -> Version | None:
    """Return the newest version, None before the first start."""
    return _version(store.row("SELECT * FROM versions ORDER BY rowid DESC LIMIT 1"))


def get(store: Store, name: str) -> Version | None:
    """Return one version by its tag, its id, or the start of it, when only one fits."""
    rows = store.rows(
        "SELECT v.* FROM versions v JOIN version_tags t ON t.version_id = v.id WHERE t.tag = ?", (name,)
    ) or store.rows("SELECT * FROM versions WHERE id = ? OR substr(id, 1, ?) = ?", (name, len(name), name))
    return _version(rows[0]) if len(rows) == 1 else None


def require(store: Store, name: str) -> Version:
    """Return one version as `get` does. Raises InputError where there is not exactly one."""
    version = get(store, name)
    if version is None:
        raise InputError(f"no single version is called or starts with {name!r} (see `versions list`)")
    return version


def every(store: Store) -> list[Version]:
    """Return all versions, oldest first."""
    versions = (_version(row) for row in store.rows("SELECT * FROM versions ORDER BY rowid"))
    return [version for version in versions if version is not None]


def path(store: Store, version: Version) -> list[Version]:
    """Return a version, its parent, and so on to the base."""
    rows = store.rows(
        "WITH RECURSIVE line (id, parent, place) AS (SELECT id, parent, 0 FROM versions WHERE id = ?"
        " UNION ALL SELECT v.id, v.parent, place + 1 FROM line JOIN versions v ON v.id = line.parent)"
        " SELECT v.* FROM line JOIN versions v ON v.id = line.id ORDER BY place",
        (version.parent,),
    )
    return [version, *(found for row in rows if (found := _version(row)) is not None)]


def retire(connection: sqlite3.Connection, version_id: str) -> None:
    """Record that a version's file was removed to save space."""
    connection.execute("UPDATE versions SET state = 'dropped' WHERE id = ?", (version_id,))


def mark_damaged(connection: sqlite3.Connection, file: str) -> None:
    """Record that a file of weights cannot be read: no version that needs it can be restored."""
    connection.execute("UPDATE versions SET state = 'damaged' WHERE file = ?", (file,))


def forget_trainer(connection: sqlite3.Connection, file: str) -> None:
    """Record that a trainer's state is gone: whoever goes back there begins with fresh moments."""
    connection.execute(
        "UPDATE versions SET trainer = NULL, trainer_sha256 = NULL, trainer_bytes = NULL WHERE trainer = ?",
        (file,),
    )


def begin_fresh(connection: sqlite3.Connection, version_id: str) -> None:
    """Record that the stored state of the trainer was of no use at a version."""
    connection.execute(
        "UPDATE versions SET moments = 'fresh', trainer = NULL, trainer_sha256 = NULL, trainer_bytes = NULL"
        " WHERE id = ?",
        (version_id,),
    )


def replace_file(connection: sqlite3.Connection, damaged: str, file: str, sha256: str) -> None:
    """Record that weights were written anew, for all versions that have them."""
    connection.execute("UPDATE versions SET file = ?, sha256 = ? WHERE file = ?", (file, sha256, damaged))


def add_note(connection: sqlite3.Connection, version_id: str, note: str) -> None:
    """Add a remark to a version; what was noted before stays."""
    connection.execute(
        "UPDATE versions SET note = CASE note WHEN '' THEN ? ELSE note || '; ' || ? END WHERE id = ?",
        (note, note, version_id),
    )


def tag(connection: sqlite3.Connection, version_id: str, name: str) -> None:
    """Give a version a name, by which it is kept for ever. A name that another version has moves here."""
    connection.execute(
        "INSERT INTO version_tags VALUES (?, ?, ?)"
        " ON CONFLICT (tag) DO UPDATE SET version_id = excluded.version_id, created = excluded.created",
        (name, version_id, now_ms()),
    )


def untag(connection: sqlite3.Connection, name: str) -> bool:
    """Take a name away. Returns whether there was one."""
    return connection.execute("DELETE FROM version_tags WHERE tag = ?", (name,)).rowcount > 0


def tags(store: Store) -> dict[str, list[str]]:
    """Return the names of each version that has one, by its id."""
    found: dict[str, list[str]] = {}
    for row in store.rows("SELECT version_id, tag FROM version_tags ORDER BY tag"):
        found.setdefault(row["version_id"], []).append(row["tag"])
    return found


def _version(row: sqlite3.Row | None) -> Version | None:
    return None if row is None else Version(**{name: row[name] for name in row.keys()})  # noqa: SIM118
