"""Is everything there exactly once? What `run.py doctor --store` looks for in the rows of a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from store.damage import Damage, Kind, damage
from store.database import Store


class _Rule(NamedTuple):
    """`sql` names, in its first column, each thing that breaks the rule."""

    name: str
    kind: Kind
    sql: str
    advice: str


_RERUN = "run.py labels rerun"
_AGAIN = "give it again with `run.py correct`"
_AT_START = "start `run.py up`: the learner settles it before it trains"
_BY_HAND = "restore a copy of heedloop.db, or report it: no program of heedloop writes such rows"

_BARE = "trim(ifnull({}, ''), ' ' || char(9, 10, 11, 12, 13))"
"""A text without the space around it."""

INGEST = (
    _Rule(
        "answer without decision",
        "gap",
        "SELECT event_id FROM events e WHERE role = 'assistant' AND retained < 2"
        " AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.turn_event_id = e.event_id)",
        _RERUN,
    ),
    _Rule(
        "tool call without decision",
        "gap",
        "SELECT event_id FROM events e WHERE role = 'assistant' AND json_array_length(tool_calls) > 1"
        " AND json_array_length(tool_calls) >"
        " (SELECT count(*) FROM decisions d WHERE d.turn_event_id = e.event_id)"
        " AND EXISTS (SELECT 1 FROM decisions d WHERE d.turn_event_id = e.event_id)",
        _RERUN,
    ),
    _Rule(
        "decision without answer",
        "orphan",
        "SELECT id FROM decisions d WHERE NOT EXISTS"
        " (SELECT 1 FROM events e WHERE e.event_id = d.turn_event_id AND e.role = 'assistant')",
        _BY_HAND,
    ),
    _Rule(
        "correction that waits for a turn that is there",
        "gap",
        "SELECT c.event_id FROM corrections c JOIN events e ON e.event_id = c.turn_event_id"
        " WHERE c.state = 'waiting'",
        _AGAIN,
    ),
    _Rule(
        "applied correction without decision",
        "gap",
        "SELECT c.event_id FROM corrections c WHERE c.state = 'applied'"
        " AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.turn_event_id = c.turn_event_id)",
        _RERUN,
    ),
    _Rule(  # the last word on a turn counts; tool calls and answers that stay as they are teach nothing
        "applied correction without its example",
        "gap",
        "SELECT c.event_id FROM corrections c JOIN events e ON e.event_id = c.turn_event_id"
        " WHERE c.rowid = (SELECT max(k.rowid) FROM corrections k"
        " WHERE k.turn_event_id = c.turn_event_id AND k.state = 'applied') AND c.verdict = 'ignored'"
        f" AND {_BARE.format('c.corrected')} NOT IN ('', {_BARE.format('e.content')})"
        f" AND e.tool_calls = '[]' AND {_BARE.format('e.content')} != ''"
        " AND NOT EXISTS (SELECT 1 FROM examples x WHERE x.decision_id = c.turn_event_id || '#0'"
        " AND x.kind = 'correction')",
        _AGAIN,
    ),
    _Rule(
        "held, but nobody is asked",
        "gap",
        "SELECT event_id FROM corrections c WHERE state = 'held' AND NOT EXISTS"
        " (SELECT 1 FROM reviews r WHERE r.subject = 'correction' AND r.id = c.event_id)"
        " UNION ALL SELECT id FROM examples e WHERE state = 'held' AND parent IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM reviews r WHERE r.subject = 'example' AND r.id = e.id)",
        _AGAIN,
    ),
    _Rule(
        "two labels in force for one direction",
        "double",
        "SELECT decision_id FROM labels GROUP BY decision_id, ifnull(direction_id, '') HAVING count(*) > 1",
        _RERUN,
    ),
    _Rule(
        "two examples in force for one decision",
        "double",
        "SELECT decision_id FROM examples WHERE decision_id IS NOT NULL"
        " AND state IN ('ready', 'needs_pair') GROUP BY decision_id HAVING count(*) > 1",
        _BY_HAND,
    ),
)

LEARNING = (
    _Rule(
        "example trained more often than its quota",
        "double",
        "SELECT e.id FROM examples e JOIN step_rows r ON r.example_id = e.id AND r.kind = 'correction'"
        " JOIN steps s ON s.id = r.step_id AND s.state = 'confirmed' WHERE e.kind = 'correction'"
        " GROUP BY e.id HAVING count(DISTINCT s.id) > e.quota",
        "run.py rollback --to the version before it (run.py show ID names its steps)",
    ),
    _Rule(
        "in quarantine, but no reason is on record",
        "gap",
        "SELECT id FROM examples e WHERE state = 'quarantined' AND parent IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM quarantine q WHERE q.example_id = e.id AND q.verdict IS NULL)",
        _BY_HAND,
    ),
    _Rule(
        "step without rows",
        "gap",
        "SELECT id FROM steps s WHERE NOT EXISTS (SELECT 1 FROM step_rows r WHERE r.step_id = s.id)",
        _BY_HAND,
    ),
    _Rule(
        "step row without step or example",
        "orphan",
        "SELECT step_id FROM step_rows r WHERE NOT EXISTS (SELECT 1 FROM steps s WHERE s.id = r.step_id)"
        " OR NOT EXISTS (SELECT 1 FROM examples e WHERE e.id = r.example_id)",
        _BY_HAND,
    ),
    _Rule(
        "version that ends with a step that is not there",
        "gap",
        "SELECT id FROM versions v WHERE last_step IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.id = v.last_step)",
        _BY_HAND,
    ),
    _Rule(
        "confirmed steps, but no version",
        "gap",
        "SELECT id FROM steps WHERE state = 'confirmed' AND NOT EXISTS (SELECT 1 FROM versions)",
        _BY_HAND,
    ),
)

_SPANS = (
    "SELECT first_step, last_step FROM versions WHERE kind = 'train' AND first_step IS NOT NULL"
    " ORDER BY first_step"
)
_CONFIRMED = "SELECT id FROM steps WHERE state = 'confirmed' ORDER BY id"
_INTENTS = "SELECT id FROM steps WHERE state = 'intent' ORDER BY id"


def examine_rows(store: Store, *, learning: bool) -> Iterator[Damage]:
    """Yield what is wrong in the rows. `learning`: a learner runs, so its newest step may be under way."""
    for rule in (*INGEST, *LEARNING):
        yield from damage(rule.name, rule.kind, _firsts(store.rows(rule.sql)), rule.advice)
    yield from damage("confirmed step that no version has", "gap", _outside(store), _BY_HAND)
    intents = _firsts(store.rows(_INTENTS))
    if learning and intents and intents[-1] == store.rows("SELECT max(id) FROM steps")[0][0]:
        intents = intents[:-1]
    yield from damage("step neither confirmed nor undone", "open", intents, _AT_START)


def _outside(store: Store) -> list[object]:
    """Return the confirmed steps before the end of the newest version that are in no version at all."""
    spans = [(row["first_step"], row["last_step"]) for row in store.rows(_SPANS)]
    found: list[object] = []
    last = 0
    for (step,) in store.rows(_CONFIRMED):
        while spans and spans[0][0] <= step:
            last = max(last, spans.pop(0)[1])
        if step > last and spans:
            found.append(step)
    return found


def _firsts(rows: list[sqlite3.Row]) -> list[object]:
    return [row[0] for row in rows]
