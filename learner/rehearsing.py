"""Rehearsal: the occasions of a correction, answered by the model and put right by the constraints.

The rejected answer is the model's own. The chosen one is its repair, or where there is none the model's
answer with corrected turns in its context: a small model cannot use a restated direction, but it can use
examples of it. Only what the constraints confirm is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from policies.constraints import Detect, read_constraints
from policies.example import Example, Origin
from policies.rehearsing import OTHER_DIRECTIONS, Occasion, is_sound, keeps, occasions, repaired, same_rule
from policies.turn import Message

Ask = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Answers many conversations greedily, in their order: the live server, or a model in memory."""
SHOTS = 3
"""Corrected turns that the model is shown."""


@dataclass(frozen=True)
class Planned:
    """The rehearsal of a correction that has this id; the same store and seed plan the same."""

    id: str
    parent: Example
    occasion: Occasion


def follows(example: Example, answer: str) -> bool | None:
    """Judge an answer by the checkable part of the example's direction; None where nothing is checkable."""
    verdicts = [c.check(answer) for c in read_constraints(example.direction or "").constraints]
    known = [verdict for verdict in verdicts if verdict is not None]
    return all(known) if known else None


def few_shot(context: Sequence[Message], shots: Sequence[Example]) -> list[Message]:
    """Return a context with corrected answers as earlier turns, after its system turns."""
    system = [m for m in context if m["role"] in ("system", "developer")]
    rest = [m for m in context if m["role"] not in ("system", "developer")]
    earlier: list[Message] = []
    for shot in shots:
        asked = next(m for m in reversed(shot.context) if m["role"] == "user")
        earlier += [asked, {"role": "assistant", "content": shot.chosen}]
    return [*system, *earlier, *rest]


def plan(
    parent: Example,
    prompts: Sequence[str],
    count: int,
    seed: int,
    detect: Detect | None = None,
    others: Sequence[str] = OTHER_DIRECTIONS,
) -> list[Planned]:
    """Return at most `count` rehearsals of a correction; fewer are the first of more."""
    rng = random.Random(f"{seed}/{parent.id}")
    found = occasions(parent, prompts, count, rng, detect, others)
    return [Planned(f"{parent.id}~{number:02}", parent, one) for number, one in enumerate(found)]


def attempt(
    planned: Sequence[Planned], corrected: Sequence[Example], ask: Ask, detect: Detect | None = None
) -> list[Example]:
    """Ask for every planned rehearsal; `corrected` are those whose answers may be shown.

    Returns an example each, in order: `ready`, or `refused` where the model follows by itself already, or no
    right answer could be confirmed.
    """
    answers = ask([one.occasion.context for one in planned]) if planned else []
    chosen = [
        None if keeps(one.occasion, own, detect) else _repair(one.occasion, own, detect)
        for one, own in zip(planned, answers, strict=True)
    ]
    shown = {one.id: _shots(one.parent, corrected, detect) for one in planned}
    open_ = [
        one
        for one, own, right in zip(planned, answers, chosen, strict=True)
        if right is None and len(shown[one.id]) == SHOTS and not keeps(one.occasion, own, detect)
    ]
    taught = ask([few_shot(one.occasion.context, shown[one.id]) for one in open_]) if open_ else []
    told = {one.id: answer for one, answer in zip(open_, taught, strict=True)}
    return [
        _example(one, own, right, told.get(one.id), detect)
        for one, own, right in zip(planned, answers, chosen, strict=True)
    ]


def rehearse(
    corrections: Sequence[Example],
    prompts: Sequence[str],
    count: int,
    ask: Ask,
    seed: int,
    detect: Detect | None = None,
) -> list[Example]:
    """Return at most `count` confirmed rehearsals, spread evenly over the corrections."""
    each = -(-count // max(1, len(corrections)))
    planned = [one for parent in corrections for one in plan(parent, prompts, each, seed, detect)][:count]
    return [one for one in attempt(planned, corrections, ask, detect) if one.state == "ready"]


def _repair(occasion: Occasion, own: str, detect: Detect | None) -> str | None:
    return repaired(occasion, own, detect) if is_sound(own, occasion.direction) else None


def _shots(parent: Example, corrected: Sequence[Example], detect: Detect | None) -> list[Example]:
    """Return the newest corrected turns under the same rule: another one's would teach that one."""
    return [e for e in corrected if e.chosen and e.parent is None and same_rule(e, parent, detect)][-SHOTS:]


def _example(one: Planned, own: str, right: str | None, taught: str | None, detect: Detect | None) -> Example:
    origin: Origin = "rehearsal:repair"
    confirmed = taught is not None and keeps(one.occasion, taught, detect)
    if right is None and taught is not None and confirmed and is_sound(taught, one.occasion.direction):
        right, origin = taught.strip(), "rehearsal:few_shot"
    return Example(
        id=one.id,
        kind="correction",
        direction=one.occasion.direction,
        context=one.occasion.context,
        chosen=right,
        rejected=own,
        twin_context=one.occasion.twin_context,
        weight=one.parent.weight,
        origin=origin,
        author=one.parent.author,
        parent=one.parent.id,
        state="refused" if right is None else "ready",
    )
