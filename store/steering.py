"""Which steering vectors a version adds, at which layer and scale."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from store.database import Store
from store.versions import Version, path


class Slot(BaseModel):
    """One vector in use: `scale` times it, at `layer` (None: at its own).

    `anneal` lets the scale fall as the weights learn the direction.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    scale: float
    layer: int | None = None
    anneal: bool = False


def put(connection: sqlite3.Connection, version_id: str, slots: Iterable[Slot]) -> None:
    """Write down what a version of kind `steer` adds: all of it, not what it changed."""
    connection.executemany(
        "INSERT INTO steering VALUES (?, ?, ?, ?, ?)",
        [(version_id, slot.name, slot.scale, slot.layer, slot.anneal) for slot in slots],
    )


def of_version(store: Store, version: Version) -> list[Slot]:
    """Return what is added under a version: as the newest version of kind `steer` on its path says."""
    newest = next((one for one in path(store, version) if one.kind == "steer"), None)
    if newest is None:
        return []
    rows = store.rows("SELECT * FROM steering WHERE version_id = ? ORDER BY name", (newest.id,))
    return [Slot(**{key: row[key] for key in Slot.model_fields}) for row in rows]
