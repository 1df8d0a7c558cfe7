"""Which version put which task vector into the weights, or took it out again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

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
    return in_each(every(store), reversed(path(store, version)))[version.id]


def in_each(applications: Iterable[Application], versions: Iterable[Version]) -> dict[str, list[Application]]:
    """Return the vectors that are in each of some versions, parents first, by its id. Newest first."""
    made = {one.version_id: one for one in applications}
    found: dict[str, list[Application]] = {}
    for version in versions:
        inside = found.get(version.parent or "", [])
        here = made.get(version.id)
        if here is None:
            found[version.id] = inside
        elif here.undoes is None:
            found[version.id] = [here, *inside]
        else:
            found[version.id] = [one for one in inside if one.version_id != here.undoes]
    return found


def scales(inside: Iterable[Application]) -> dict[str, float]:
    """Return how much of each vector that is; one may have been added more than once."""
    found: dict[str, float] = {}
    for application in inside:
        found[application.vector] = found.get(application.vector, 0.0) + application.scale
    return found


def every(store: Store) -> list[Application]:
    """Return what all versions did."""
    rows = store.rows("SELECT * FROM applications")
    return [Application(**{key: row[key] for key in row.keys()}) for row in rows]  # noqa: SIM118
