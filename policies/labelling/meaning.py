"""What sentence vectors add to the words of the user's next turn. They come from outside, as a function."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from policies.labelling.features import own_words
from policies.labelling.protocol import Case

Embed = Callable[[str], Sequence[float] | None]
"""Gives the unit vector of a text, or None where it cannot."""

_REACTION, _ANSWER, _REQUEST = 500, 200, 300  # characters


@dataclass(frozen=True)
class Meaning:
    """`near`: how alike the three turns are, by name. `vectors`: the reaction, and it times the answer."""

    near: Mapping[str, float]
    vectors: Mapping[str, Sequence[float]]


def meaning(case: Case, embed: Embed) -> Meaning | None:
    """Return the meaning of the next user turn in its context; None where there is no turn or no vector."""
    reaction = next((turn for turn in case.following if turn.role == "user"), None)
    asked = [turn.content for turn in case.decision.context if turn.role == "user"]
    if reaction is None:
        return None
    said = embed(own_words(reaction.content)[:_REACTION] or " ")
    answer = embed(case.decision.turn.content[-_ANSWER:] or " ")
    request = embed((asked[-1] if asked else "")[-_REQUEST:] or " ")
    if said is None or answer is None or request is None:
        return None
    near = {
        "reaction_near_answer": _dot(said, answer),
        "reaction_near_request": _dot(said, request),
        "answer_near_request": _dot(answer, request),
    }
    return Meaning(near, {"reaction": said, "beside_answer": tuple(map(operator.mul, said, answer))})


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return float(sum(map(operator.mul, a, b)))
