"""The quarantine: examples taken out of training, why, and what a person said of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Literal

from policies.example import Example
from store import examples
from store.clock import now_ms
from store.database import Store

Word = Literal["released", "dropped", "acquitted"]
"""A person's, but `acquitted`: the search for the cause of a breach found it innocent."""
_STATE: dict[Word, str] = {"released": "ready", "dropped": "refused", "acquitted": "ready"}


def waiting(store: Store) -> list[sqlite3.Row]:
    """Return what is in quarantine, oldest first: id, reason, score, created, author, direction, chosen."""
    return store.rows(
        "SELECT q.example_id AS id, q.reason, q.score, q.created, e.author, e.direction, e.chosen,"
        " (SELECT count(*) FROM examples r WHERE r.parent = e.id AND r.state = 'quarantined') AS rehearsals"
        " FROM quarantine q JOIN examples e ON e.id = q.example_id"
        " WHERE q.verdict IS NULL AND e.state = 'quarantined' ORDER BY q.id"
    )


def decide(connection: sqlite3.Connection, example_id: str, word: Word) -> bool:
    """Record a person's word: released trains again, dropped never does. False: it is not in quarantine.

    Its rehearsals go the same way.
    """
    changed = connection.execute(
        "UPDATE examples SET state = ? WHERE id = ? AND state = 'quarantined' RETURNING id",
        (_STATE[word], example_id),
    ).fetchone()
    if changed is None:
        return False
    connection.execute(
        "UPDATE quarantine SET verdict = ?, decided = ? WHERE example_id = ? AND verdict IS NULL",
        (word, now_ms(), example_id),
    )
    return True


def withdrawn(store: Store, example_ids: Collection[str]) -> list[str]:
    """Return which of some examples are in quarantine or held now, or were dropped or refused."""
    marks = ",".join("?" * len(example_ids))
    rows = store.rows(
        f"SELECT id FROM examples WHERE id IN ({marks}) AND state IN ('quarantined', 'held', 'refused')"
        " ORDER BY id",
        tuple(example_ids),
    )
    return [row["id"] for row in rows]


def last(store: Store) -> int:
    """Return the newest entry, 0 before the first."""
    row = store.row("SELECT max(id) AS id FROM quarantine")
    return 0 if row is None or row["id"] is None else int(row["id"])


def after(store: Store, entry: int) -> list[Example]:
    """Return what was taken out after an entry and still waits for a word, without rehearsals."""
    rows = store.rows(
        "SELECT example_id FROM quarantine WHERE id > ? AND verdict IS NULL ORDER BY example_id", (entry,)
    )
    found = (examples.get(store, row["example_id"]) for row in rows)
    return [example for example in found if example is not None]


def acquit(connection: sqlite3.Connection, harms: Mapping[str, float], guilty: Collection[str]) -> int:
    """Record how far each example caused a breach; those not guilty train again. Returns how many.

    Nothing is acquitted twice: what was in two breaches waits for a person.
    """
    free = 0
    for example_id, harm in harms.items():
        connection.execute(
            "UPDATE quarantine SET score = ? WHERE example_id = ? AND verdict IS NULL", (harm, example_id)
        )
        before = connection.execute(
            "SELECT 1 FROM quarantine WHERE example_id = ? AND verdict = 'acquitted'", (example_id,)
        ).fetchone()
        if example_id not in guilty and before is None:
            free += decide(connection, example_id, "acquitted")
    return free
