"""What a hybrid is taught and looked at with: its own small world, or for others the common questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from learner.experiments import directions, material
from learner.experiments.course import Models
from learner.experiments.directions import Direction
from learner.experiments.hybrid import domain
from learner.experiments.hybrid.making import world_of
from learner.experiments.scoring import answered, answers_of
from policies.example import Example
from policies.turn import Message
from store.questions import load_questions

_ANSWER_TOKENS = 48
_RATE = 4e-3
"""A model of a million parameters takes longer steps than the settings' default, which suits larger ones."""


@dataclass(frozen=True)
class Ground:
    """Questions to correct and to score on, directions to teach, and others that ask for nothing that shows.

    `prompt(question, direction or None, in_system)` is a chat; `right(question, answer)` tells whether an
    answer, in whatever form, still answers.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    directions: tuple[Direction, ...]
    others: tuple[str, ...]
    prompt: Callable[[str, str | None, bool], Sequence[Message]]
    right: Callable[[str, str], bool]
    rate: float | None = None
    """The learning rate that suits the model; None: that of the settings."""

    def plain(self, questions: Sequence[str]) -> list[Sequence[Message]]:
        """Return the questions without a direction."""
        return [self.prompt(q, None, False) for q in questions]

    def directed(self, questions: Sequence[str], wordings: Sequence[str]) -> list[Sequence[Message]]:
        """Return questions with a direction behind each; wordings take turns."""
        return [self.prompt(q, wordings[i % len(wordings)], False) for i, q in enumerate(questions)]

    def corrections(self, models: Models, direction: Direction, count: int, seed: int) -> list[Example]:
        """Return corrections of a direction: the base's own answer, and what should have stood there."""
        draw = random.Random(f"{seed}/{direction.name}")
        asked = draw.sample(self.train, min(count, len(self.train)))
        argument = direction.arguments[0]
        told = [direction.taught[i % len(direction.taught)].format(x=argument) for i in range(len(asked))]
        contexts = [self.prompt(q, t, False) for q, t in zip(asked, told, strict=True)]
        own = _answers(models, contexts)
        plain = _answers(models, self.plain(asked))
        return [
            Example(
                id=f"c{i:03}",
                kind="correction",
                direction=told[i],
                context=tuple(contexts[i]),
                twin_context=tuple(self.prompt(asked[i], None, False)),
                chosen=direction.correct(plain[i], argument),
                rejected=own[i],
                origin="correction",
            )
            for i in range(len(asked))
        ]

    def habits(self, models: Models, direction: Direction, count: int, seed: int) -> list[Example]:
        """Return the same questions and answers as `corrections`, with no direction: the control."""
        return [
            correction.model_copy(
                update={"direction": None, "context": correction.twin_context, "twin_context": None}
            )
            for correction in self.corrections(models, direction, count, seed)
        ]

    def pool(self, models: Models) -> list[Example]:
        """Return questions under other directions with the base's answers, for replay."""
        contexts = self.directed(self.train, self.others[: len(self.others) // 2])
        return [
            Example(id=f"g{i:03}", kind="general", context=tuple(context), chosen=answer, origin="base")
            for i, (context, answer) in enumerate(zip(contexts, _answers(models, contexts), strict=True))
        ]


def ground_of(folder: Path) -> Ground:
    """Return the ground for the model in a folder."""
    known = world_of(folder)
    return _of_questions() if known is None else _of_world(known)


def _of_world(known: domain.World) -> Ground:
    questions = {q.text: q for q in (*known.train, *known.held_out)}
    return Ground(
        train=tuple(q.text for q in known.train),
        held_out=tuple(q.text for q in known.held_out),
        directions=(domain.JSON, domain.FAREWELL),
        others=_others(),
        prompt=domain.told,
        right=lambda question, answer: questions[question].answered(answer),
        rate=_RATE,
    )


def _others() -> tuple[str, ...]:
    """Return what is not taught: the first half is replayed, and unlike the second, which is held out."""
    (one, two), third = (domain.LOWERCASE, domain.WORD), len(domain.OTHERS) // 2
    return (
        *(*one.taught, *one.unseen, *domain.OTHERS[:third]),
        *(*two.taught, *two.unseen, *domain.OTHERS[third:]),
    )


def _of_questions() -> Ground:
    questions = load_questions()
    return Ground(
        train=questions.train,
        held_out=questions.held_out,
        directions=(directions.LOWERCASE, directions.JSON_KEY),
        others=directions.OTHERS,
        prompt=material.messages_of,
        right=answered,
    )


def _answers(models: Models, contexts: Sequence[Sequence[Message]]) -> list[str]:
    return answers_of(models.base, models.tokenizer, contexts, _ANSWER_TOKENS)
