"""What is taught, one direction at a time: our own directions, or those of the user's stored corrections."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from learner.experiments.corrections import Corrector
from learner.experiments.course import Models
from learner.experiments.directions import Direction
from learner.experiments.heeding import followed
from learner.experiments.scoring import answers_of
from learner.rehearsing import follows
from policies.errors import InputError
from policies.example import Example

FEWEST_STORED = 6
"""Corrections of one direction below which none can be taught and others held out."""
_HELD_OUT_SHARE = 3


@dataclass(frozen=True)
class Subject:
    """One direction: corrections in the order in which they come, and what a model gets on held-out prompts.

    `score` gives 1 for each prompt that is answered as directed, else 0.
    """

    name: str
    examples: tuple[Example, ...]
    score: Callable[[PreTrainedModel], list[float]]


def of_directions(
    models: Models,
    directions: Sequence[Direction],
    count: int,
    questions: Sequence[str],
    tokens: int,
    seeds: Sequence[int],
) -> dict[int, list[Subject]]:
    """Return by seed the given directions, with `count` corrections each."""
    corrector = Corrector(models)

    def subject(direction: Direction, seed: int) -> Subject:
        def score(model: PreTrainedModel) -> list[float]:
            return followed(model, models.tokenizer, [direction], questions, tokens)[direction.name]

        return Subject(direction.name, tuple(corrector.corrections(direction, count, seed)), score)

    return {seed: [subject(direction, seed) for direction in directions] for seed in seeds}


def of_store(
    models: Models, corrected: Sequence[Example], tokens: int, seeds: Sequence[int]
) -> dict[int, list[Subject]]:
    """Return by seed the user's directions that code can check; a third of the decisions is held out.

    Which are held out is the same for all seeds; the order of the others is not. Raises InputError where no
    direction has enough corrections.
    """
    by_text: defaultdict[str, dict[str, Example]] = defaultdict(dict)
    for example in corrected:
        if example.direction and example.chosen and follows(example, example.chosen):
            by_text[example.direction][example.decision_id or example.id] = example
    enough = {text: list(found.values()) for text, found in by_text.items() if len(found) >= FEWEST_STORED}
    if not enough:
        most = max(map(len, by_text.values()), default=0)
        raise InputError(
            f"no direction in the store has {FEWEST_STORED} corrections that code can check (the most is"
            f" {most}): correct more answers, or leave --stored out to use the directions that come along"
        )
    return {
        seed: [_stored(models, text, found, tokens, seed) for text, found in sorted(enough.items())]
        for seed in seeds
    }


def _stored(models: Models, text: str, found: Sequence[Example], tokens: int, seed: int) -> Subject:
    shuffled = random.Random(text).sample(list(found), len(found))
    held_out, rest = shuffled[: len(found) // _HELD_OUT_SHARE], shuffled[len(found) // _HELD_OUT_SHARE :]
    random.Random(f"{seed}/{text}").shuffle(rest)

    def score(model: PreTrainedModel) -> list[float]:
        answers = answers_of(model, models.tokenizer, [e.context for e in held_out], tokens)
        return [float(bool(follows(e, answer))) for e, answer in zip(held_out, answers, strict=True)]

    return Subject(text, tuple(rest), score)
