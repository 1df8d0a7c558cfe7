"""Decisions that wait for a labeller that needs I/O: rows, so that a kill of the loop forgets none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from store.database import Store


class Waiting(NamedTuple):
    """One question: what does this labeller say of this decision?"""

    labeller: str
    decision_id: str


def put(connection: sqlite3.Connection, labeller: str, decision_ids: Iterable[str]) -> None:
    """Put decisions down for a labeller, each once, behind those that wait already."""
    connection.executemany(
        "INSERT INTO opinions_waiting (labeller, decision_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(labeller, decision_id) for decision_id in decision_ids],
    )


def oldest(store: Store, labellers: Sequence[str]) -> Waiting | None:
    """Return the question that waits longest for one of these labellers. It stays until `done`."""
    row = store.row(
        "SELECT labeller, decision_id FROM opinions_waiting"
        " WHERE labeller IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT 1",
        (json.dumps(list(labellers)),),
    )
    return None if row is None else Waiting(*row)


def done(connection: sqlite3.Connection, question: Waiting) -> None:
    """Take a question out: it was answered, or cannot be."""
    connection.execute("DELETE FROM opinions_waiting WHERE labeller = ? AND decision_id = ?", question)
