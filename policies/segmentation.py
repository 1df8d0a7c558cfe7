"""Cut a conversation into decision points under the directions in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from policies.constraints import Detect
from policies.decision import DecisionPoint
from policies.directions import Force, advance
from policies.turn import Turn


def segment(turns: Iterable[Turn], *, start: int = 0, detect: Detect | None = None) -> list[DecisionPoint]:
    """Return the decision points of turns in order of time; several conversations may be mixed.

    One per assistant turn, plus one for each further tool call in it. Only turns from place `start` on
    (among all given) make decision points; the earlier ones are their context.
    """
    return list(decision_points(turns, start=start, detect=detect))


def decision_points(
    turns: Iterable[Turn],
    *,
    start: int = 0,
    detect: Detect | None = None,
    known: tuple[int, Force] | None = None,
) -> Iterator[DecisionPoint]:
    """Yield what `segment` returns, one at a time: contexts are copies, and long ones add up.

    `known` (one conversation only): a place and what is in force there, so that a conversation that goes on
    is not read again from its beginning; the turns before that place are context.
    """
    turns = list(turns)
    begin, force_there = known or (0, Force())
    earlier: dict[str, list[Turn]] = {}
    forces: dict[str, Force] = {}
    seen: set[str] = set()
    if begin:
        earlier[turns[0].conversation_id] = turns[:begin]
        forces[turns[0].conversation_id] = force_there
        seen.update(turn.event_id for turn in turns[:begin])
    for place, turn in enumerate(turns[begin:], begin):
        if turn.event_id in seen:
            continue
        seen.add(turn.event_id)
        context = earlier.setdefault(turn.conversation_id, [])
        force = forces.get(turn.conversation_id, Force())
        if turn.role == "assistant" and place >= start:
            yield from _decisions(turn, context, force)
        forces[turn.conversation_id] = advance(force, turn, detect)
        context.append(turn)


def _decisions(turn: Turn, context: Sequence[Turn], force: Force) -> Iterator[DecisionPoint]:
    before, directions = tuple(context), force.directions
    for call_index in range(max(1, len(turn.tool_calls))):
        # The parts are valid models already: to check a long context again each time is quadratic.
        yield DecisionPoint.model_construct(
            conversation_id=turn.conversation_id,
            turn=turn,
            call_index=call_index,
            context=before,
            directions=directions,
        )
