"""Orders to the learner. The loop and the command line write them, the learner carries them out."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Literal

from policies.messages import CommandPayload, ReplyEvent
from store import counters, outbox
from store.clock import now_ms, rfc3339
from store.database import Store

Outcome = Literal["done", "failed", "refused"]


def insert(connection: sqlite3.Connection, agent: str, command: CommandPayload) -> bool:
    """Keep one command as `waiting`. Returns False (and counts) for a known event id."""
    row = connection.execute(
        "INSERT INTO commands (event_id, agent, command, args, state, received)"
        " VALUES (?, ?, ?, ?, 'waiting', ?) ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
        (command.event_id, agent, command.command, json.dumps(command.args), now_ms()),
    ).fetchone()
    counters.add(connection, "commands" if row is not None else "commands_duplicate")
    return row is not None


def waiting(store: Store) -> list[CommandPayload]:
    """Return the commands that nobody has carried out yet, oldest first."""
    rows = store.rows("SELECT * FROM commands WHERE state = 'waiting' ORDER BY received, rowid")
    return [
        CommandPayload(event_id=row["event_id"], command=row["command"], args=json.loads(row["args"]))
        for row in rows
    ]


def finish(
    connection: sqlite3.Connection, event_id: str, outcome: Outcome, result: dict[str, Any] | None = None
) -> None:
    """Record what became of a command, and queue the reply of contract v1."""
    finished = now_ms()
    connection.execute(
        "UPDATE commands SET state = ?, result = ?, finished = ? WHERE event_id = ?",
        (outcome, json.dumps(result or {}), finished, event_id),
    )
    reply = ReplyEvent(ts=rfc3339(finished), reply_to=event_id, ok=outcome == "done", result=result or {})
    outbox.put(connection, reply)


def outcome(store: Store, event_id: str) -> tuple[Outcome, dict[str, Any]] | None:
    """Return how a command ended, None while it waits. Raises KeyError for an unknown one."""
    row = store.row("SELECT state, result FROM commands WHERE event_id = ?", (event_id,))
    if row is None:
        raise KeyError(event_id)
    return None if row["state"] == "waiting" else (row["state"], json.loads(row["result"]))
