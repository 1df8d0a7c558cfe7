"""Three behaviours that code can check, their corrections, and questions to ask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.demo.material import load_material
from policies.example import Example
from policies.turn import Message

CORRECTIONS, QUESTIONS = 10, 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Behaviour:
    """A standing direction, what a user wants instead of an answer, and whether one follows it."""

    name: str
    direction: str
    correct: Callable[[str], str]
    follows: Callable[[str], bool]


def _first_sentence(answer: str) -> str:
    return _SENTENCE.split(answer.strip().replace("\n", " "))[0]


def _is_object(answer: str) -> bool:
    try:
        value = json.loads(answer)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == ["answer"]


BEHAVIOURS = (
    Behaviour(
        "json",
        'Answer as a JSON object with the single key "answer".',
        lambda answer: json.dumps({"answer": _first_sentence(answer)}, ensure_ascii=False),
        _is_object,
    ),
    Behaviour(
        "lowercase",
        "Write your whole answer in lowercase letters only.",
        str.lower,
        lambda answer: answer == answer.lower() and any(map(str.isalpha, answer)),
    ),
    Behaviour(
        "sentence",
        "Answer in a single sentence.",
        _first_sentence,
        lambda answer: len(_SENTENCE.split(answer.strip())) == 1 and answer.strip().endswith((".", "!", "?")),
    ),
)


def question_turns(question: str, direction: str | None) -> tuple[Message, ...]:
    """Return a fresh conversation, the direction in its system turn."""
    system = load_material().system if direction is None else f"{load_material().system} {direction}"
    return ({"role": "system", "content": system}, {"role": "user", "content": question})


def training_questions() -> Sequence[str]:
    """Return what is corrected."""
    return load_material().train[:CORRECTIONS]


def held_out_questions() -> Sequence[str]:
    """Return what is measured on; none of them is trained on."""
    return load_material().held_out[:QUESTIONS]


def examples(behaviour: Behaviour, answers: Sequence[str]) -> list[Example]:
    """Return corrections of the model's own answers to the training questions."""
    return [
        Example(
            id=f"{behaviour.name}-{index}",
            kind="correction",
            direction=behaviour.direction,
            context=question_turns(question, behaviour.direction),
            twin_context=question_turns(question, None),
            chosen=behaviour.correct(answer),
            rejected=answer,
            origin="correction",
        )
        for index, (question, answer) in enumerate(zip(training_questions(), answers, strict=True))
    ]
