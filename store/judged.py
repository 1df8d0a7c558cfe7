"""Judged answers: each with its context, and the right answer where one is known. Read-only."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache

from policies.choosing import LeftOut, Said, Wanted, verdict_of
from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.training_shapes import Judged
from policies.turn import Message, Turn
from policies.window import recent
from store import events
from store.database import Store

_TURNS = (
    "SELECT e.seq, e.event_id, e.conversation_id, e.ts, e.retained FROM events e"
    " WHERE e.event_id IN (SELECT turn_event_id FROM decisions) ORDER BY e.seq"
)
_LABELS = (
    "SELECT l.verdict, l.confidence, l.labeller, g.text AS direction FROM labels l"
    " JOIN decisions d ON d.id = l.decision_id LEFT JOIN directions g ON g.id = l.direction_id"
    " WHERE d.turn_event_id = ? ORDER BY l.id"
)
_EXAMPLE = (
    "SELECT e.* FROM examples e JOIN decisions d ON d.id = e.decision_id WHERE d.turn_event_id = ?"
    " AND e.kind = 'correction' AND e.state != 'superseded' ORDER BY e.state = 'held' LIMIT 1"
)
_HELD = "SELECT 1 FROM corrections WHERE turn_event_id = ? AND state = 'held'"
_DROPPED = (
    "SELECT 1 FROM quarantine WHERE example_id = :id AND verdict = 'dropped' UNION ALL"
    " SELECT 1 FROM reviews WHERE subject = 'example' AND id = :id AND verdict = 'refused'"
)
_REHEARSALS = (
    "SELECT id, context, chosen, rejected, state FROM examples WHERE parent = ? AND chosen NOTNULL"
    " AND state IN ('ready', 'quarantined', 'held') ORDER BY id"
)
_DIRECTIONS = (
    "SELECT DISTINCT g.* FROM directions g JOIN decision_directions x ON x.direction_id = g.id"
    " JOIN decisions d ON d.id = x.decision_id WHERE d.turn_event_id = ?"
)


def judged(store: Store, wanted: Wanted, max_characters: int, left_out: Counter[str]) -> Iterator[Judged]:
    """Yield the wanted answers, oldest first; count in `left_out` those that are not, by reason.

    A message with several tool calls is one answer and counts by its worst label. Of a long context the
    newest `max_characters` are kept, and what gives direction.
    """
    turns_of = lru_cache(8)(lambda conversation: events.conversation(store.connection, conversation)[0])
    for turn in store.rows(_TURNS):
        try:
            yield from _of_turn(store, turn, wanted, turns_of, max_characters, left_out)
        except LeftOut as reason:
            left_out[str(reason)] += 1


def _of_turn(
    store: Store,
    turn: sqlite3.Row,
    wanted: Wanted,
    turns_of: Callable[[str], list[Turn]],
    max_characters: int,
    left_out: Counter[str],
) -> Iterator[Judged]:
    name = turn["event_id"]
    if wanted.since is not None and turn["ts"] < wanted.since:
        raise LeftOut("older than asked for")
    verdict = verdict_of([Said(**dict(row)) for row in store.rows(_LABELS, (name,))], wanted)
    example = store.row(_EXAMPLE, (name,))
    _require_cleared(store, name, example, wanted)
    if verdict == "ignored" and example is not None and example["origin"] != "followed":
        right = None if example["chosen"] is None else _answer(example["chosen"])
        context = tuple(json.loads(example["context"]))
        yield Judged(id=name, context=context, right=right, wrong=_answer(example["rejected"]))
        yield from _rehearsals(store, example, wanted, left_out)
        return
    context, answer = _conversation(store, turn, turns_of(turn["conversation_id"]), max_characters)
    if verdict == "followed":
        yield Judged(id=name, context=context, right=answer)
    else:
        yield Judged(id=name, context=context, wrong=answer)


def _require_cleared(store: Store, name: str, example: sqlite3.Row | None, wanted: Wanted) -> None:
    """Raises LeftOut for what a person has refused, and for what is apart unless it is asked for."""
    state = None if example is None else example["state"]
    if example is not None and store.connection.execute(_DROPPED, {"id": example["id"]}).fetchone():
        raise LeftOut("refused by a person")
    if state == "quarantined" and "quarantined" not in wanted.include:
        raise LeftOut("quarantined")
    held = state == "held" or store.row(_HELD, (name,)) is not None
    if held and "held" not in wanted.include:
        raise LeftOut("held for a person's word")


def _rehearsals(
    store: Store, example: sqlite3.Row, wanted: Wanted, left_out: Counter[str]
) -> Iterator[Judged]:
    """Yield the further answers under the same direction that the live model found: asked for only."""
    for row in store.rows(_REHEARSALS, (example["id"],)):
        if "rehearsals" not in wanted.include:
            left_out["rehearsal of a correction"] += 1
        elif row["state"] != "ready" and row["state"] not in wanted.include:
            left_out[f"rehearsal, {row['state']}"] += 1
        else:
            wrong = None if row["rejected"] is None else _answer(row["rejected"])
            context = tuple(json.loads(row["context"]))
            yield Judged(id=row["id"], context=context, right=_answer(row["chosen"]), wrong=wrong)


def _conversation(
    store: Store, row: sqlite3.Row, turns: list[Turn], max_characters: int
) -> tuple[tuple[Message, ...], Message]:
    """Return what stands before a turn, shortened as an example's context is, and the turn itself."""
    place = next(i for i, turn in enumerate(turns) if turn.event_id == row["event_id"])
    turn = turns[place]
    if row["retained"] > 1 or not (turn.content.strip() or turn.tool_calls):
        raise LeftOut("its text is gone (retention), or was empty")
    directions = tuple(Direction(**dict(d)) for d in store.rows(_DIRECTIONS, (row["event_id"],)))
    point = recent(_point(turn, turns[:place], directions), max_characters)
    return tuple(earlier.message() for earlier in point.context), turn.message()


def _point(turn: Turn, before: list[Turn], directions: tuple[Direction, ...]) -> DecisionPoint:
    return DecisionPoint.model_construct(
        conversation_id=turn.conversation_id,
        turn=turn,
        call_index=0,
        context=tuple(before),
        directions=directions,
    )


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}
