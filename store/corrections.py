"""What people said about a turn. One whose turn has not come yet waits for it, for as long as it takes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

from policies.messages import CorrectionPayload
from store import counters
from store.clock import now_ms

State = Literal["waiting", "applied", "held", "rejected"]


def insert(
    connection: sqlite3.Connection, agent: str, correction: CorrectionPayload, source: str = "mqtt"
) -> bool:
    """Keep one correction as `waiting`. Returns False (and counts) for a known event id."""
    row = connection.execute(
        "INSERT INTO corrections VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?)"
        " ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
        (
            correction.event_id,
            agent,
            correction.conversation_id,
            correction.turn_event_id,
            correction.verdict,
            correction.direction,
            correction.corrected,
            correction.author,
            now_ms(),
            source,
        ),
    ).fetchone()
    counters.add(connection, "corrections" if row is not None else "corrections_duplicate")
    return row is not None


def of_turn(
    connection: sqlite3.Connection, turn_event_id: str, states: Sequence[State] = ("waiting", "applied")
) -> list[CorrectionPayload]:
    """Return the corrections of a turn in these states, oldest first."""
    rows = connection.execute(
        "SELECT * FROM corrections WHERE turn_event_id = ? ORDER BY rowid", (turn_event_id,)
    )
    return [_correction(row) for row in rows if row["state"] in states]


def get(connection: sqlite3.Connection, event_id: str) -> CorrectionPayload | None:
    """Return one correction, or None where it never came."""
    row = connection.execute("SELECT * FROM corrections WHERE event_id = ?", (event_id,)).fetchone()
    return None if row is None else _correction(row)


def turns_with_any(connection: sqlite3.Connection, turn_event_ids: Iterable[str]) -> set[str]:
    """Return those of some turns that have corrections, in whatever state."""
    rows = connection.execute(
        "SELECT turn_event_id FROM corrections WHERE turn_event_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(turn_event_ids)),),
    )
    return {row[0] for row in rows}


def set_state(connection: sqlite3.Connection, event_id: str, state: State) -> None:
    """Move one correction on."""
    connection.execute("UPDATE corrections SET state = ? WHERE event_id = ?", (state, event_id))


def _correction(row: sqlite3.Row) -> CorrectionPayload:
    names = CorrectionPayload.model_fields
    return CorrectionPayload(**{name: row[name] for name in row.keys() if name in names})  # noqa: SIM118
