"""Bring together each decision, the turns after it, and the corrections of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from policies.constraints import Detect
from policies.directions import Force
from policies.labelling.protocol import Case
from policies.messages import CorrectionPayload
from policies.segmentation import decision_points
from policies.turn import Turn


def cases(
    turns: Sequence[Turn],
    corrections: Mapping[str, Sequence[CorrectionPayload]] | None = None,
    *,
    start: int = 0,
    detect: Detect | None = None,
    known: tuple[int, Force] | None = None,
) -> Iterator[Case]:
    """Yield the cases of turns in order of time (conversations may be mixed), from place `start` on.

    `corrections` are by turn event id, the last one counts. A new user turn is evidence on the decisions
    since the user turn before it: ask again from there (`start`). `known` is that of `decision_points`.
    """
    own: dict[str, list[Turn]] = {}
    places: dict[str, int] = {}
    for turn in turns:
        if turn.event_id not in places:
            conversation = own.setdefault(turn.conversation_id, [])
            places[turn.event_id] = len(conversation)
            conversation.append(turn)
    for decision in decision_points(turns, start=start, detect=detect, known=known):
        later = _until_user(own[decision.conversation_id], places[decision.turn.event_id] + 1)
        found = (corrections or {}).get(decision.turn.event_id, ())
        yield Case(decision, later, tuple(found))


def _until_user(turns: Sequence[Turn], place: int) -> tuple[Turn, ...]:
    stop = place
    while stop < len(turns):
        stop += 1
        if turns[stop - 1].role == "user":
            break
    return tuple(turns[place:stop])
