"""Orders to the learner. The loop and the command line write them, the learner carries them out."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from policies.messages import CommandPayload, ReplyEvent
from store import counters, outbox
from store.clock import now_ms, rfc3339
from store.database import Store

Outcome = Literal["done", "failed", "refused"]
_OPEN = ("waiting", "applied")


class Progress(BaseModel):
    """What is known of a command that waits: how often it was begun, why it failed, which parts are done."""

    model_config = ConfigDict(frozen=True)

    tries: int = 0
    reason: str = ""
    parts: tuple[dict[str, Any], ...] = ()


class Applied(NamedTuple):
    """A command that is in the rows, but not answered; `result` is all that was known of the answer."""

    event_id: str
    result: dict[str, Any]


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


def progress(store: Store, event_id: str) -> Progress:
    """Return what is known of a command that waits."""
    row = store.row("SELECT result FROM commands WHERE event_id = ? AND state = 'waiting'", (event_id,))
    return Progress() if row is None else Progress.model_validate_json(row["result"])


def keep(connection: sqlite3.Connection, event_id: str, progress: Progress) -> None:
    """Record how far a command has come; nothing changes once it is applied."""
    connection.execute(
        "UPDATE commands SET result = ? WHERE event_id = ? AND state = 'waiting'",
        (progress.model_dump_json(), event_id),
    )


def apply(connection: sqlite3.Connection, event_id: str, result: dict[str, Any]) -> None:
    """Record, with the rows that a command writes, that it is never to be carried out again.

    It is answered by `finish`, when the live weights follow the rows.
    """
    connection.execute(
        "UPDATE commands SET state = 'applied', result = ? WHERE event_id = ?",
        (json.dumps(result), event_id),
    )


def applied(store: Store) -> list[Applied]:
    """Return the commands that a kill has left applied, but not answered."""
    rows = store.rows("SELECT event_id, result FROM commands WHERE state = 'applied' ORDER BY rowid")
    return [Applied(row["event_id"], json.loads(row["result"])) for row in rows]


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
    """Return how a command ended, None while it is not answered. Raises KeyError for an unknown one."""
    row = store.row("SELECT state, result FROM commands WHERE event_id = ?", (event_id,))
    if row is None:
        raise KeyError(event_id)
    return None if row["state"] in _OPEN else (row["state"], json.loads(row["result"]))
