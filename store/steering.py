"""Which steering vectors a version adds, at which layer and scale."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from store.database import Store
from store.versions import Version, every, path


class Slot(BaseModel):
    """One vector in use: `scale` times it, at `layer` (None: at its own).

    `vector_id` is that of its file, for another one may take the name later (None: the one that has it).
    `anneal` lets the scale fall as the weights learn the direction.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    scale: float
    layer: int | None = None
    anneal: bool = False
    vector_id: str | None = None


def put(connection: sqlite3.Connection, version_id: str, slots: Iterable[Slot]) -> None:
    """Write down what a version of kind `steer` adds: all of it, not what it changed."""
    connection.executemany(
        "INSERT INTO steering (version_id, name, scale, layer, anneal, vector_id)"
        " VALUES (:version_id, :name, :scale, :layer, :anneal, :vector_id)",
        [{"version_id": version_id, **slot.model_dump()} for slot in slots],
    )


def of_version(store: Store, version: Version) -> list[Slot]:
    """Return what is added under a version: as the newest version of kind `steer` on its path says."""
    newest = next((one for one in path(store, version) if one.kind == "steer"), None)
    if newest is None:
        return []
    rows = store.rows("SELECT * FROM steering WHERE version_id = ? ORDER BY name", (newest.id,))
    return [Slot.model_validate({key: row[key] for key in row.keys()}) for row in rows]  # noqa: SIM118


def in_use(store: Store) -> set[str]:
    """Return the ids of the vectors that a version adds which can still be restored."""
    added: dict[str | None, str | None] = {}
    versions = every(store)
    for version in versions:  # a parent is older than its children
        added[version.id] = version.id if version.kind == "steer" else added.get(version.parent)
    restorable = {added[version.id] for version in versions if version.state == "good"}
    rows = store.rows("SELECT version_id, vector_id FROM steering WHERE vector_id IS NOT NULL")
    return {str(row["vector_id"]) for row in rows if row["version_id"] in restorable}
