"""What goes when it is old: a few rows in each transaction, so that nobody waits.

What the history links to stays: everything of a conversation with a correction or with an example that a
step was taken on, and the answers of the server that became corrected turns. The ids of events and commands
stay for good: a turn that is sent again after years still counts once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from policies.answers import answer_digest
from store import counters, state
from store.answers import APART_MS
from store.database import Store

EXPIRED = '{"expired": true}'
"""What stands where arguments and result of an old command were."""
_LOOKED_TO = "retention_answers_to"
"""In the store: the last answer that a sweep has looked at."""

_OF_CONVERSATION = """
DELETE FROM opinions_waiting WHERE decision_id IN (SELECT id FROM decisions WHERE conversation_id = :id);
DELETE FROM labels WHERE decision_id IN (SELECT id FROM decisions WHERE conversation_id = :id);
DELETE FROM votes WHERE decision_id IN (SELECT id FROM decisions WHERE conversation_id = :id);
DELETE FROM label_history WHERE decision_id IN (SELECT id FROM decisions WHERE conversation_id = :id);
DELETE FROM decision_directions WHERE decision_id IN (SELECT id FROM decisions WHERE conversation_id = :id);
DELETE FROM directions WHERE conversation_id = :id;
DELETE FROM examples WHERE decision_id IN (SELECT id FROM decisions WHERE conversation_id = :id);
DELETE FROM decisions WHERE conversation_id = :id;
UPDATE events SET content = '', tool_calls = '[]', retained = 2 WHERE conversation_id = :id
"""
_TAUGHT = (
    "SELECT 1 FROM corrections WHERE conversation_id = :id UNION ALL"
    " SELECT 1 FROM decisions d JOIN examples e ON e.decision_id = d.id WHERE d.conversation_id = :id"
    " AND (e.kind = 'correction' OR EXISTS (SELECT 1 FROM step_rows r WHERE r.example_id = e.id)) LIMIT 1"
)


class Cutoffs(NamedTuple):
    """UTC milliseconds before which a thing is old; None: it never is."""

    answers: int | None
    dead_letters: int | None
    label_history: int | None
    conversations: int | None
    outbox: int | None
    commands: int | None


def sweep(store: Store, cutoffs: Cutoffs, batch: int) -> dict[str, int]:
    """Remove the next old rows, a transaction for each kind. Returns how many of each; empty: all is done."""
    kinds: dict[str, tuple[int | None, Callable[[sqlite3.Connection, int, int], int]]] = {
        "answers": (cutoffs.answers, _answers),
        "dead_letters": (cutoffs.dead_letters, _dead_letters),
        "label_history": (cutoffs.label_history, _label_history),
        "conversations": (cutoffs.conversations, _conversations),
        "outbox": (cutoffs.outbox, _outbox),
        "commands": (cutoffs.commands, _commands),
    }
    looked: dict[str, int] = {}
    for name, (before, remove) in kinds.items():
        if before is not None:
            with store.write() as connection:
                looked[name] = remove(connection, before, batch)
    return {name: number for name, number in looked.items() if number}


def give_back(store: Store, pages: int) -> int:
    """Cut free pages off the database, so many at most; the next checkpoint makes the file smaller.

    Returns how many went. A store that was made before this was so keeps them until somebody runs VACUUM.
    """
    before = _free_pages(store)
    store.connection.executescript(f"PRAGMA incremental_vacuum({pages})")  # `execute` does one page of it
    return before - _free_pages(store)


def _free_pages(store: Store) -> int:
    return int(store.rows("PRAGMA freelist_count")[0][0])


def _answers(connection: sqlite3.Connection, before: int, batch: int) -> int:
    """Remove answers, but those of corrected turns. Returns how many were looked at.

    The newest one stays, however old: SQLite gives the number after it, and would give its own again.
    """
    row = connection.execute("SELECT value FROM state WHERE name = ?", (_LOOKED_TO,)).fetchone()
    old = connection.execute(
        "SELECT seq, response_id, digest, ended FROM answers WHERE seq > ? AND ended < ?"
        " AND seq < (SELECT max(seq) FROM answers) ORDER BY seq LIMIT ?",
        (0 if row is None else json.loads(row[0]), before, batch),
    ).fetchall()
    if not old:
        return 0
    ids, digests = _corrected(connection, min(a["ended"] for a in old), max(a["ended"] for a in old))
    gone = [(a["seq"],) for a in old if a["response_id"] not in ids and a["digest"] not in digests]
    connection.executemany("DELETE FROM answers WHERE seq = ?", gone)
    state.put(connection, _LOOKED_TO, old[-1]["seq"])
    counters.add(connection, "answers_expired", len(gone))
    return len(old)


def _corrected(connection: sqlite3.Connection, first: int, last: int) -> tuple[set[str], set[str]]:
    """Return event ids and digests of the corrected turns of a stretch of time."""
    rows = connection.execute(
        "SELECT event_id, content, tool_calls FROM events WHERE ts BETWEEN ? AND ?"
        " AND event_id IN (SELECT turn_event_id FROM corrections)",
        (first - APART_MS, last + APART_MS),
    ).fetchall()
    digests = set()
    for row in rows:
        calls = [(call["name"], call["arguments"]) for call in json.loads(row["tool_calls"])]
        digests.add(answer_digest(row["content"], calls))
    return {row["event_id"] for row in rows}, digests


def _dead_letters(connection: sqlite3.Connection, before: int, batch: int) -> int:
    removed = connection.execute(
        "DELETE FROM dead_letters WHERE id IN"
        " (SELECT id FROM dead_letters WHERE received < ? ORDER BY id LIMIT ?)",
        (before, batch),
    ).rowcount
    counters.add(connection, "dead_letters_expired", removed)
    return removed


def _label_history(connection: sqlite3.Connection, before: int, batch: int) -> int:
    removed = connection.execute(
        "DELETE FROM label_history WHERE id IN (SELECT h.id FROM label_history h WHERE h.replaced < ?"
        " AND NOT EXISTS (SELECT 1 FROM examples e WHERE e.decision_id = h.decision_id"
        " AND e.kind = 'correction')"
        " ORDER BY h.id LIMIT ?)",
        (before, batch),
    ).rowcount
    counters.add(connection, "label_history_expired", removed)
    return removed


def _outbox(connection: sqlite3.Connection, before: int, batch: int) -> int:
    """Remove events that the broker has; what was not sent waits, however old."""
    removed = connection.execute(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE sent < ? ORDER BY id LIMIT ?)",
        (before, batch),
    ).rowcount
    counters.add(connection, "outbox_expired", removed)
    return removed


def _commands(connection: sqlite3.Connection, before: int, batch: int) -> int:
    """Empty answered commands. Their ids stay: one that is sent again is not carried out again."""
    emptied = connection.execute(
        "UPDATE commands SET args = '{}', result = :expired WHERE rowid IN (SELECT rowid FROM commands"
        " WHERE finished < :before AND result != :expired ORDER BY rowid LIMIT :batch)",
        {"expired": EXPIRED, "before": before, "batch": batch},
    ).rowcount
    counters.add(connection, "commands_emptied", emptied)
    return emptied


def _conversations(connection: sqlite3.Connection, before: int, batch: int) -> int:
    """Empty conversations that ended long ago and taught nothing. Returns how many events were looked at."""
    looked = 0
    while looked < batch:
        oldest = connection.execute(
            "SELECT conversation_id AS id, received FROM events WHERE retained = 0 ORDER BY received LIMIT 1"
        ).fetchone()
        if oldest is None or oldest["received"] >= before:
            break
        looked += _conversation(connection, oldest["id"], before)
    return looked


def _conversation(connection: sqlite3.Connection, conversation_id: str, before: int) -> int:
    named = {"id": conversation_id, "before": before}
    recent = "SELECT 1 FROM events WHERE conversation_id = :id AND received >= :before LIMIT 1"
    keeps = connection.execute(_TAUGHT, named).fetchone() or connection.execute(recent, named).fetchone()
    if keeps:  # one that goes on is looked at again when its newest turns are old
        return connection.execute(
            "UPDATE events SET retained = 1 WHERE conversation_id = :id AND retained = 0"
            " AND received < :before",
            named,
        ).rowcount
    for statement in _OF_CONVERSATION.split(";"):
        emptied = connection.execute(statement, named).rowcount
    counters.add(connection, "events_emptied", emptied)
    return emptied
