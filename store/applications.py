"""Which version put which task vector into the weights, or took it out again."""

from __future__ import annotations

import sqlite3

from pydantic import BaseModel, ConfigDict

from store.database import Store
from store.versions import Version, path


class Application(BaseModel):
    """Version `version_id` added `scale` times the vector of that name and id.

    `undoes` names the version whose addition it took back.
    """

    model_config = ConfigDict(frozen=True)

    version_id: str
    vector: str
    vector_id: str
    scale: float
    undoes: str | None = None


def add(connection: sqlite3.Connection, application: Application) -> None:
    """Write down what a version did."""
    connection.execute(
        "INSERT INTO applications VALUES (:version_id, :vector, :vector_id, :scale, :undoes)",
        application.model_dump(),
    )


def in_weights(store: Store, version: Version) -> list[Application]:
    """Return the vectors that are in a version: added on its line, and not taken out since. Newest first."""
    line = {one.id: place for place, one in enumerate(path(store, version))}
    rows = store.rows("SELECT * FROM applications")
    found = [Application(**{key: row[key] for key in row.keys()}) for row in rows]  # noqa: SIM118
    here = [application for application in found if application.version_id in line]
    undone = {application.undoes for application in here}
    added = [a for a in here if a.undoes is None and a.version_id not in undone]
    return sorted(added, key=lambda application: line[application.version_id])
