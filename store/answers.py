"""Answers that the server gave, each with the weights in force when it was asked for and when it was done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from policies.answers import answer_digest
from store.database import Store

APART_MS = 3_600_000
"""A turn and an answer with the same text, but further apart in time, are not taken for the same."""

Moment = tuple[str | None, int | None, int]
"""Version, step and UTC milliseconds."""


class Answer(BaseModel):
    """One line of the server's log of answers; a digest for each choice."""

    model_config = ConfigDict(frozen=True)

    id: str | None
    path: str
    status: int | None
    outcome: Literal["finished", "abandoned", "failed"]
    digests: tuple[str, ...]
    started: Moment
    ended: Moment


def parse_answer(line: bytes) -> Answer | None:
    """Read one line, None where it is none of the log's."""
    try:
        return Answer.model_validate_json(line)
    except ValidationError:
        return None


def insert(connection: sqlite3.Connection, answers: Iterable[Answer]) -> None:
    """Keep answers; an abandoned or failed one without text has one row, too."""
    connection.executemany(
        "INSERT INTO answers (response_id, choice, path, status, outcome, digest, started_version,"
        " started_step, started, ended_version, ended_step, ended)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (a.id, choice, a.path, a.status, a.outcome, digest, *a.started, *a.ended)
            for a in answers
            for choice, digest in enumerate(a.digests or (None,))
        ],
    )


def of_turn(store: Store, event: sqlite3.Row | dict[str, Any]) -> dict[str, Any] | None:
    """Return the answer that became this assistant turn, and how it was found; None where there is none.

    By the response's id, if the log's event id is one; else by what it says: of several such answers the one
    nearest in time, with their number.
    """
    by_id = store.row("SELECT * FROM answers WHERE response_id = ?", (event["event_id"],))
    if by_id is not None:
        return {**dict(by_id), "found_by": "response id", "candidates": 1}
    calls = [(call["name"], call["arguments"]) for call in json.loads(event["tool_calls"])]
    if event["role"] != "assistant" or not (event["content"].strip() or calls):
        return None
    alike = store.rows(
        "SELECT * FROM answers WHERE digest = ? AND ended BETWEEN ? AND ? ORDER BY abs(ended - ?)",
        (
            answer_digest(event["content"], calls),
            event["ts"] - APART_MS,
            event["ts"] + APART_MS,
            event["ts"],
        ),
    )
    return {**dict(alike[0]), "found_by": "text and time", "candidates": len(alike)} if alike else None
