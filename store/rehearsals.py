"""Rehearsals: examples that the learner makes of a correction. What became of each attempt is one row.

Their `parent` is the correction; their ids follow from its id and a number, so that an attempt is made once,
whatever is killed in between. A trigger of the schema takes them out of training, and lets them in again,
with their correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from policies.example import Example
from store import examples
from store.database import Store

_LOG = 200
"""Newest ordinary turns, and system turns, that are looked at."""


class Rehearsed(NamedTuple):
    """A correction that still has uses left, and the ids of the rehearsals that were tried."""

    correction: Example
    tried: frozenset[str]


def add(store: Store, rehearsals: Sequence[Example], quota: int) -> list[Example]:
    """Keep attempts in one transaction; returns those that are new, and whose correction is still taught."""
    added = []
    with store.write() as connection:
        for one in rehearsals:
            taught = connection.execute(
                "SELECT 1 FROM examples p WHERE p.id = ? AND p.state = 'ready'"
                " AND NOT EXISTS (SELECT 1 FROM examples e WHERE e.id = ?)",
                (one.parent, one.id),
            ).fetchone()
            if taught is not None:
                examples.insert(connection, one, quota)
                added.append(one)
    return added


def waiting(store: Store) -> list[Rehearsed]:
    """Return the corrections that are still to be trained on, oldest first; what was followed is none."""
    tried: dict[str, set[str]] = {}
    for row in store.rows("SELECT id, parent FROM examples WHERE parent IS NOT NULL"):
        tried.setdefault(row["parent"], set()).add(row["id"])
    return [
        Rehearsed(usable.example, frozenset(tried.get(usable.example.id, ())))
        for usable in examples.pending(store)
        if usable.example.corrects
    ]


def prompts(store: Store) -> list[str]:
    """Return what users asked in conversations of one question: the agent's newest ordinary turns, then the
    base model's pool.
    """
    rows = store.rows(
        "SELECT * FROM (SELECT context, origin, id FROM examples WHERE kind = 'general' AND state = 'ready'"
        " AND origin = 'ordinary' ORDER BY id DESC LIMIT ?)"
        " UNION ALL SELECT * FROM (SELECT context, origin, id FROM examples WHERE kind = 'general'"
        " AND state = 'ready' AND origin = 'base' ORDER BY id)",
        (_LOG,),
    )
    return [text for row in rows if (text := examples.lone_question(row["context"]))]


def standing_directions(store: Store) -> list[str]:
    """Return the standing directions of the agent's log that nobody corrected, commonest first."""
    rows = store.rows(
        "SELECT text FROM directions WHERE scope = 'standing'"
        " AND text NOT IN (SELECT direction FROM examples WHERE direction IS NOT NULL)"
        " GROUP BY text ORDER BY count(*) DESC, text LIMIT ?",
        (_LOG,),
    )
    return [row["text"] for row in rows]


def counts(store: Store) -> dict[str, int]:
    """Return how many rehearsals there are in each state."""
    rows = store.rows(
        "SELECT state, count(*) AS n FROM examples WHERE parent IS NOT NULL GROUP BY state ORDER BY state"
    )
    return {row["state"]: row["n"] for row in rows}
