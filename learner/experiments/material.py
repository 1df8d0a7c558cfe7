"""Corrections to learn from, and held-out prompts to be scored on; their questions are disjoint."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from learner.experiments.directions import OTHERS, Direction
from policies.example import Example
from policies.turn import Message
from policies.twins import twin
from store.questions import load_questions

_MATERIAL = load_questions()
SYSTEM = _MATERIAL.system
HELD_OUT = _MATERIAL.held_out
REHEARSED = _MATERIAL.load
"""What the agent was asked otherwise: the prompts of its log on which corrections are rehearsed."""


@dataclass(frozen=True)
class Item:
    """A held-out prompt; `direction` and `argument` are what the answer is checked against."""

    question: str
    messages: tuple[Message, ...]
    direction: Direction | None = None
    argument: str = ""


def messages_of(
    question: str, told: str | None, in_system: bool, system: str | None = SYSTEM
) -> tuple[Message, ...]:
    """Return a chat with a direction in its system turn or behind its question; None leaves it out."""
    asked = question if told is None or in_system else f"{question} {told}"
    ruled = " ".join(part for part in (system, told if in_system else None) if part)
    user = {"role": "user", "content": asked}
    return ({"role": "system", "content": ruled}, user) if ruled else (user,)


def drawn(
    directions: Sequence[Direction], count: int, seed: int
) -> list[tuple[Direction, str, str, Example]]:
    """Return `count` corrections to be made, with direction, argument and question: `chosen` is still empty.

    Directions take turns; every second one stands in the system turn.
    """
    draw = random.Random(f"{seed}/{'-'.join(d.name for d in directions)}")
    made = []
    for index, question in enumerate(draw.sample(_MATERIAL.train, count)):
        direction = directions[index % len(directions)]
        argument = draw.choice(direction.arguments)
        told = draw.choice(direction.taught).format(x=argument)
        context = messages_of(question, told, in_system=(index // len(directions)) % 2 == 0)
        example = Example(
            id=f"c{index:03}",
            kind="correction",
            direction=told,
            context=context,
            twin_context=twin(context, told),
            origin="correction",
        )
        made.append((direction, argument, question, example))
    return made


def directed(direction: Direction, wording: int, questions: Sequence[str]) -> list[Item]:
    """Return questions under an unseen wording (0 or 1) of a direction, with unseen arguments."""
    items = []
    for index, question in enumerate(questions):
        argument = direction.unseen_arguments[index % len(direction.unseen_arguments)]
        told = direction.unseen[wording].format(x=argument)
        items.append(
            Item(question, messages_of(question, told, in_system=index % 2 == 0), direction, argument)
        )
    return items


def plain(questions: Sequence[str]) -> list[Item]:
    """Return questions without a direction."""
    return [Item(question, messages_of(question, None, in_system=False)) for question in questions]


def without_system(questions: Sequence[str]) -> list[Item]:
    """Return questions without any system turn."""
    return [Item(q, messages_of(q, None, in_system=False, system=None)) for q in questions]


def otherwise_directed(questions: Sequence[str]) -> list[Item]:
    """Return questions under an unrelated direction."""
    return [
        Item(q, messages_of(q, OTHERS[i % len(OTHERS)], in_system=i % 2 == 0))
        for i, q in enumerate(questions)
    ]
