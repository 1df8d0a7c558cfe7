"""Turns as they arrived, each exactly once by its event id."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from policies.turn import ToolCall, Turn
from store import counters
from store.clock import now_ms


def insert(connection: sqlite3.Connection, agent: str, turns: Iterable[Turn], source: str) -> list[Turn]:
    """Keep the turns that are new, in the given order, and return them. A known event id is only counted."""
    return insert_all(connection, ((agent, turn) for turn in turns), source)[0]


def insert_all(
    connection: sqlite3.Connection, turns: Iterable[tuple[str, Turn]], source: str
) -> tuple[list[Turn], list[Turn]]:
    """Keep the turns of several agents as `insert` does. Returns the new ones and those that were known."""
    received = now_ms()
    new: list[Turn] = []
    known: list[Turn] = []
    for agent, turn in turns:
        (new if _insert_one(connection, agent, turn, source, received) else known).append(turn)
    counters.add(connection, "turns", len(new))
    counters.add(connection, "turns_duplicate", len(known))
    return new, known


def conflicting(connection: sqlite3.Connection, turns: Iterable[Turn]) -> list[Turn]:
    """Return those of some turns that were not new whose event id another turn has already.

    What the text was of one of which retention left the id alone, nobody knows.
    """
    said = "SELECT * FROM events WHERE event_id = ? AND retained < 2"
    rows = [(connection.execute(said, (turn.event_id,)).fetchone(), turn) for turn in turns]
    return [turn for row, turn in rows if row is not None and _says_otherwise(_turn(row), turn)]


def conversation(
    connection: sqlite3.Connection, conversation_id: str, after: int = 0
) -> tuple[list[Turn], int]:
    """Return the turns of one conversation in the order of their arrival, and the place of the last one.

    Only turns behind the place `after` are read; where there are none the place stays.
    """
    rows = connection.execute(
        "SELECT * FROM events WHERE conversation_id = ? AND seq > ? ORDER BY seq", (conversation_id, after)
    ).fetchall()
    return [_turn(row) for row in rows], rows[-1]["seq"] if rows else after


def get(connection: sqlite3.Connection, event_id: str) -> Turn | None:
    """Return one turn, or None where it never came."""
    row = connection.execute("SELECT * FROM events WHERE event_id = ?", (event_id,)).fetchone()
    return None if row is None else _turn(row)


def _says_otherwise(kept: Turn, turn: Turn) -> bool:
    parts = (kept.conversation_id, kept.role, kept.content, kept.tool_calls)
    return parts != (turn.conversation_id, turn.role, turn.content, turn.tool_calls)


def _insert_one(connection: sqlite3.Connection, agent: str, turn: Turn, source: str, received: int) -> bool:
    row = connection.execute(
        "INSERT INTO events (event_id, agent, conversation_id, role, content, tool_calls, tool_call_id, ts,"
        " model, weight_version, interrupted, source, received)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (event_id) DO NOTHING RETURNING seq",
        (
            turn.event_id,
            agent,
            turn.conversation_id,
            turn.role,
            turn.content,
            json.dumps([call.model_dump() for call in turn.tool_calls]),
            turn.tool_call_id,
            turn.ts,
            turn.model,
            turn.weight_version,
            int(turn.interrupted),
            source,
            received,
        ),
    ).fetchone()
    return row is not None


def _turn(row: sqlite3.Row) -> Turn:
    fields = {name: row[name] for name in row.keys() if name in Turn.model_fields}  # noqa: SIM118
    fields["tool_calls"] = tuple(ToolCall(**call) for call in json.loads(row["tool_calls"]))
    fields["interrupted"] = bool(row["interrupted"])
    return Turn.model_construct(**fields)  # it was checked when it came
