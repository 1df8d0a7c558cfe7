"""The part of a long context that an example keeps: no learner reads megabytes before one answer."""

from __future__ import annotations

from policies.decision import DecisionPoint

CHARACTERS_PER_TOKEN = 8
"""Generous: the learner cuts by tokens; this only keeps megabytes of log from being repeated."""
_RULING = frozenset({"system", "developer"})


def recent(decision: DecisionPoint, max_characters: int) -> DecisionPoint:
    """Return the decision with its oldest turns left out beyond `max_characters` of context.

    System turns and turns that give a direction in force always stay. A tool's result stays only together
    with the turn that called it.
    """
    bound = {direction.event_id for direction in decision.directions}
    begin = len(decision.context)
    left = max_characters
    while begin > 0:
        turn = decision.context[begin - 1]
        left -= len(turn.content) + sum(len(call.arguments) for call in turn.tool_calls)
        if left < 0:
            break
        begin -= 1
    older = (t for t in decision.context[:begin] if t.role in _RULING or t.event_id in bound)
    kept = [*older, *decision.context[begin:]]
    called = {call.id for turn in kept for call in turn.tool_calls}
    whole = tuple(t for t in kept if t.role != "tool" or t.tool_call_id is None or t.tool_call_id in called)
    return decision if whole == decision.context else decision.model_copy(update={"context": whole})
