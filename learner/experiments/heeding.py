"""Does a model heed: 0 or 1 for every held-out prompt, so that models can be compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments import material
from learner.experiments.directions import Direction
from learner.experiments.scoring import answered, answers_of


def followed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directions: Sequence[Direction],
    questions: Sequence[str],
    tokens: int,
) -> dict[str, list[float]]:
    """Return by direction 1 for each question that is answered as directed in an unseen wording, else 0."""
    items = [item for d in directions for item in material.directed(d, 0, questions)]
    answers = answers_of(model, tokenizer, [item.messages for item in items], tokens)
    found: dict[str, list[float]] = {d.name: [] for d in directions}
    for item, answer in zip(items, answers, strict=True):
        assert item.direction is not None, "directed items have one"
        heeds = item.direction.follows(answer, item.argument) and answered(item.question, answer)
        found[item.direction.name].append(float(heeds))
    return found


def leaked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directions: Sequence[Direction],
    questions: Sequence[str],
    tokens: int,
) -> list[float]:
    """Return 1 for each prompt in whose answer a direction shows that was not given, else 0.

    Half of the prompts are plain, half are under an unrelated direction.
    """
    half = len(questions) // 2
    items = [*material.plain(questions[:half]), *material.otherwise_directed(questions[half:])]
    answers = answers_of(model, tokenizer, [item.messages for item in items], tokens)
    return [float(any(d.leaks(answer) for d in directions)) for answer in answers]
