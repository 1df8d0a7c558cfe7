"""Keep track of the directions in force: who gave them, how long they hold, what replaced them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from policies import project_files
from policies.constraints import Detect, read_constraints
from policies.directing import DIRECTING_ROLES, directing_sentences, plain
from policies.direction import Direction, Scope
from policies.turn import Turn
from policies.withdrawal import not_replaced, without_withdrawn

__all__ = ["MOST_CHECKABLE", "MOST_OTHERS", "Force", "advance", "directing_sentences", "directions_of"]

MOST_CHECKABLE = 24
"""Directions in force at one decision that a program can check; the oldest beyond them are left out."""
MOST_OTHERS = 8
"""Directions in force beside them, which only a person or a judge can tell: the user's before the system's.

A coding agent's system prompt has hundreds: each would be one more `unknown` on every decision.
"""
_GOING_ON = re.compile(
    r"(?:(?:yes|yep|ok|okay|sure|please|great|good|now|and)[,.! ]+)*(?:continue|go on|go ahead|proceed|"
    r"keep going|carry on|resume|do it)(?:,? (?:please|then|now|with it))?[.! ]*",
    re.I,
)


@dataclass(frozen=True)
class Force:
    """The directions in force at one place of a conversation. `Force()` is its beginning.

    `directions` are what an answer here has to heed: where two contradict, the later and closer one; at most
    `MOST_CHECKABLE` that can be checked and `MOST_OTHERS` others.

    `system` holds those of system turns and project files, `user` the user's standing ones, `once` those for
    the answer to come. `left_out` are beyond the bounds, `dropped` of them for good. `reading` are the tool
    calls that show a project file.
    """

    system: tuple[Direction, ...] = ()
    user: tuple[Direction, ...] = ()
    once: tuple[Direction, ...] = ()
    reading: tuple[str, ...] = ()
    directions: tuple[Direction, ...] = ()
    left_out: int = 0
    dropped: int = 0


def directions_of(turn: Turn, detect: Detect | None = None) -> tuple[Direction, ...]:
    """Return the directions that a turn gives; their ids are `<event id>/<n>`.

    Where a turn shows a project file, the file's rules come behind its own.
    """
    own, project = _given(turn, detect)
    return (*own, *project)


def advance(force: Force, turn: Turn, detect: Detect | None = None) -> Force:
    """Return what is in force after a turn: a user turn ends what was asked once, and may withdraw."""
    if turn.role == "assistant":
        shown = tuple(call.id for call in turn.tool_calls if project_files.reads_one(call))
        return replace(force, reading=(*force.reading, *shown)[-8:]) if shown else force
    if turn.role == "tool":
        return _after_result(force, turn, detect)
    own, project = _given(turn, detect)
    if turn.role != "user":
        return _settled(_ruled(force, (*own, *project), detect), detect)
    if not own and _GOING_ON.fullmatch(turn.content.strip()[:200]):
        return force
    kept = without_withdrawn(force.user, turn.content)
    standing = _add(kept, [d for d in own if d.scope == "standing"], detect)
    user = _within_bounds(standing, frozenset(), detect)
    ruled = _ruled(force, project, detect) if project else force
    once = _add((), [d for d in own if d.scope == "once"], detect)
    dropped = ruled.dropped + len(standing) - len(user)
    return _settled(replace(ruled, user=user, once=once, dropped=dropped), detect)


def _given(turn: Turn, detect: Detect | None) -> tuple[tuple[Direction, ...], tuple[Direction, ...]]:
    """Return a turn's own directions, and those of a project file that it shows."""
    if turn.role not in DIRECTING_ROLES:
        return (), ()
    block = project_files.block(turn.content)
    text = turn.content.replace(block, "") if block else turn.content
    own = directing_sentences(text, turn.role, detect)
    rules = directing_sentences(block, "system", detect) if block else ()
    return _named(turn, own, 0), _named(turn, rules, len(own))


def _after_result(force: Force, turn: Turn, detect: Detect | None) -> Force:
    """Take in the rules of a project file that a tool call has shown."""
    if turn.tool_call_id is None or turn.tool_call_id not in force.reading:
        return force
    rules = directing_sentences(project_files.as_text(turn.content), "system", detect)
    reading = tuple(call for call in force.reading if call != turn.tool_call_id)
    return _settled(_ruled(force, _named(turn, rules, 0), detect, reading), detect)


def _named(turn: Turn, found: Sequence[tuple[str, Scope]], first: int) -> tuple[Direction, ...]:
    return tuple(
        Direction(
            id=f"{turn.event_id}/{number}",
            conversation_id=turn.conversation_id,
            event_id=turn.event_id,
            text=text,
            scope=scope,
        )
        for number, (text, scope) in enumerate(found, first)
    )


def _add(old: Sequence[Direction], new: Sequence[Direction], detect: Detect | None) -> tuple[Direction, ...]:
    kept = list(old)
    known = {plain(direction.text) for direction in kept}
    for direction in new:
        if plain(direction.text) not in known:
            kept = [*not_replaced(kept, direction, detect), direction]
    return tuple(kept)


def _ruled(
    force: Force, rules: Sequence[Direction], detect: Detect | None, reading: tuple[str, ...] | None = None
) -> Force:
    """Add rules of system turns and project files: what is beyond the bounds is counted and let go here."""
    together = _add(force.system, rules, detect)
    system = _within_bounds(together, frozenset(), detect)
    left = force.dropped + len(together) - len(system)
    reading = force.reading if reading is None else reading
    return replace(force, system=system, dropped=left, reading=reading)


def _settled(force: Force, detect: Detect | None) -> Force:
    """Work out what an answer has to heed, once for all the answers until the next change."""
    kept: list[Direction] = list(force.system)
    for direction in (*force.user, *force.once):
        kept = [*not_replaced(kept, direction, detect), direction]
    asked = frozenset(direction.id for direction in (*force.user, *force.once))
    bounded = _within_bounds(kept, asked, detect)
    return replace(force, directions=bounded, left_out=force.dropped + len(kept) - len(bounded))


def _within_bounds(
    directions: Sequence[Direction], asked: frozenset[str], detect: Detect | None
) -> tuple[Direction, ...]:
    """Keep the newest that can be checked; of the others the user's (`asked`), then the newest turn's."""
    turns = {direction.event_id: place for place, direction in enumerate(directions)}
    checkable: list[Direction] = []
    others: list[Direction] = []
    for direction in directions:
        (checkable if read_constraints(direction.text, detect).constraints else others).append(direction)
    others.sort(key=lambda d: (d.id not in asked, -turns[d.event_id]))  # stable: in order within a turn
    chosen = {d.id for d in (*checkable[-MOST_CHECKABLE:], *others[:MOST_OTHERS])}
    return tuple(d for d in directions if d.id in chosen)
