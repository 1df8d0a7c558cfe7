"""Rehearsal: the occasions of a correction, answered by the model and put right by the constraints.

The rejected answer is the model's own. The chosen one is its repair; where it recites the direction or goes
round in circles, the repair of what the model says without the direction; where there is none either, the
model's answer with corrected turns in its context: a small model cannot use a restated direction, but it can
use examples of it. Only what the constraints confirm is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from policies.config import RehearsalConfig
from policies.constraints import Detect, read_constraints
from policies.example import Example, Origin
from policies.rehearsing import (
    OTHER_DIRECTIONS,
    Occasion,
    is_sound,
    keeps,
    occasions,
    repaired,
    same_rule,
    shares,
)
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
    own = _answers(ask, {one.id: one.occasion.context for one in planned})
    wrong = [one for one in planned if not keeps(one.occasion, own[one.id], detect)]
    right = {one.id: _repaired(one.occasion, own[one.id], detect) for one in wrong}
    unsound = [one for one in wrong if right[one.id] is None]
    plain = _answers(ask, {one.id: one.occasion.twin_context for one in unsound})
    right |= {one.id: _repaired(one.occasion, plain[one.id], detect) for one in unsound}
    shown = {one.id: _shots(one.parent, corrected, detect) for one in unsound if right[one.id] is None}
    taught = _answers(
        ask,
        {
            one.id: few_shot(one.occasion.context, shown[one.id])
            for one in unsound
            if len(shown.get(one.id, ())) == SHOTS
        },
    )
    return [_example(one, own[one.id], right.get(one.id), taught.get(one.id), detect) for one in planned]


def _answers(ask: Ask, contexts: Mapping[str, Sequence[Message]]) -> dict[str, str]:
    """Ask all at once, by the id of the rehearsal."""
    return dict(zip(contexts, ask(list(contexts.values())), strict=True)) if contexts else {}


def rehearse(
    corrections: Sequence[Example],
    prompts: Sequence[str],
    config: RehearsalConfig,
    ask: Ask,
    seed: int,
    detect: Detect | None = None,
) -> list[Example]:
    """Return the confirmed rehearsals of a round of these corrections, all at once."""
    counts = shares(corrections, config.aim, config.most, detect)
    planned = [
        one for parent in corrections for one in plan(parent, prompts, counts.get(parent.id, 0), seed, detect)
    ]
    return [one for one in attempt(planned, corrections, ask, detect) if one.state == "ready"]


def _repaired(occasion: Occasion, answer: str, detect: Detect | None) -> str | None:
    return repaired(occasion, answer, detect) if is_sound(answer, occasion.direction) else None


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
