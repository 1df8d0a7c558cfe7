"""Who sent what: the way back from corrections, turns and examples to source, agent and author."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from policies.trust import Sender
from store.database import Store


class Origin(NamedTuple):
    """Where an example comes from; `by_hand`: a person has accepted it."""

    sender: Sender
    conversation: str
    by_hand: bool


_ORIGINS = """SELECT e.id, v.conversation_id, ifnull(c.agent, v.agent) AS agent, e.author,
    ifnull(c.source, v.source) AS source,
    EXISTS (SELECT 1 FROM reviews r WHERE r.verdict = 'accepted'
        AND r.id IN (e.id, e.parent, c.event_id)) AS accepted
    FROM examples e JOIN decisions d ON d.id = ifnull(e.decision_id, (SELECT p.decision_id FROM examples p
        WHERE p.id = e.parent)) JOIN events v ON v.event_id = d.turn_event_id
    LEFT JOIN corrections c ON c.rowid = (SELECT max(k.rowid) FROM corrections k
        WHERE k.turn_event_id = d.turn_event_id AND k.state = 'applied')"""


def of_correction(connection: sqlite3.Connection, event_id: str) -> Sender:
    """Return who sent a correction. Raises KeyError for an unknown one."""
    row = connection.execute(
        "SELECT source, agent, author FROM corrections WHERE event_id = ?", (event_id,)
    ).fetchone()
    if row is None:
        raise KeyError(event_id)
    return Sender(row["source"], row["agent"], row["author"])


def of_turn(connection: sqlite3.Connection, event_id: str) -> Sender:
    """Return who sent a turn. Raises KeyError for an unknown one."""
    row = connection.execute("SELECT source, agent FROM events WHERE event_id = ?", (event_id,)).fetchone()
    if row is None:
        raise KeyError(event_id)
    return Sender(row["source"], row["agent"])


def of_examples(store: Store, example_ids: Sequence[str]) -> dict[str, Origin]:
    """Return where examples come from; those without a decision are left out."""
    marks = ",".join("?" * len(example_ids))
    rows = store.rows(f"{_ORIGINS} WHERE e.id IN ({marks})", tuple(example_ids))
    return {row["id"]: _origin(row) for row in rows}


def of_last_slots(store: Store, most: int) -> list[Origin]:
    """Return where the corrections of the last confirmed slots come from, oldest first."""
    rows = store.rows(
        f"SELECT o.* FROM (SELECT r.rowid AS place, r.step_id, r.slot, r.example_id FROM step_rows r"
        " JOIN steps s ON s.id = r.step_id WHERE r.kind = 'correction' AND s.state = 'confirmed'"
        f" ORDER BY r.step_id DESC, r.slot DESC LIMIT ?) x JOIN ({_ORIGINS}) o ON o.id = x.example_id"
        " ORDER BY x.step_id, x.slot",
        (most,),
    )
    return [_origin(row) for row in rows]


def corrections_since(connection: sqlite3.Connection, sender: Sender, since: int) -> tuple[int, int]:
    """Count the corrections since a time (ms) by this kind of source: of this author, and of this agent."""
    row = connection.execute(
        "SELECT count(*) FILTER (WHERE author IS ?) AS person, count(*) AS agent FROM corrections"
        " WHERE agent = ? AND received >= ? AND state != 'rejected' AND source = ?",
        (sender.author, sender.agent, since, sender.source),
    ).fetchone()
    return row["person"], row["agent"]


def _origin(row: sqlite3.Row) -> Origin:
    sender = Sender(row["source"], row["agent"], row["author"])
    return Origin(sender, row["conversation_id"], bool(row["accepted"]))
