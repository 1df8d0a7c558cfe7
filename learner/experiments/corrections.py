"""Corrections of one direction, as many as asked for: more than there are questions to ask.

A question that comes again has another wording, argument or place of the direction.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from learner.experiments.course import Models
from learner.experiments.directions import Direction
from learner.experiments.material import messages_of
from learner.experiments.scoring import ANSWER_TOKENS, answers_of
from policies.example import Example
from policies.twins import twin
from store.questions import load_questions


def combinations(direction: Direction, seed: int) -> Iterator[tuple[str, str, str, bool]]:
    """Draw (question, argument, wording, in the system turn) without end to the questions, none twice.

    All questions come once before any comes again. It ends when a pass over the questions finds nothing new.
    """
    draw = random.Random(f"{seed}/{direction.name}")
    questions = list(load_questions().train)
    seen: set[tuple[str, str, bool]] = set()
    found = True
    while found:
        found = False
        draw.shuffle(questions)
        for question in questions:
            ways = [
                (argument, wording.format(x=argument), in_system)
                for argument in direction.arguments
                for wording in direction.taught
                for in_system in (True, False)
                if (question, wording.format(x=argument), in_system) not in seen
            ]
            if ways:
                argument, told, in_system = draw.choice(ways)
                seen.add((question, told, in_system))
                found = True
                yield question, argument, told, in_system


class Corrector:
    """Corrects the base model's answers; what it answers without a direction is kept."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._plain: dict[str, str] = {}

    def corrections(self, direction: Direction, count: int, seed: int) -> list[Example]:
        """Return `count` corrections; fewer ones of the same seed are the first of more."""
        found = combinations(direction, seed)
        drawn = [next(found) for _ in range(count)]
        contexts = [messages_of(question, told, in_system) for question, _, told, in_system in drawn]
        own = answers_of(self._models.base, self._models.tokenizer, contexts, ANSWER_TOKENS)
        self._answer([question for question, *_ in drawn])
        return [
            Example(
                id=f"{direction.name}{index:03}",
                kind="correction",
                direction=told,
                context=context,
                chosen=direction.correct(self._plain[question], argument),
                rejected=answer,
                twin_context=twin(context, told),
                origin="correction",
            )
            for index, ((question, argument, told, _), context, answer) in enumerate(
                zip(drawn, contexts, own, strict=True)
            )
        ]

    def _answer(self, questions: Sequence[str]) -> None:
        """Let the base answer the questions that it has not answered yet."""
        new = [q for q in dict.fromkeys(questions) if q not in self._plain]
        contexts = [messages_of(question, None, in_system=False) for question in new]
        answers = answers_of(self._models.base, self._models.tokenizer, contexts, ANSWER_TOKENS)
        self._plain |= dict(zip(new, answers, strict=True))
