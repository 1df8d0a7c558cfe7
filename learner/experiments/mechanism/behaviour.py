"""What a model does after a recipe: every figure by item, so that recipes can be compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments import material
from learner.experiments.directions import Direction
from learner.experiments.material import Item
from learner.experiments.scoring import answered, answers_of
from learner.probing.material import load_material
from learner.probing.scores import fact_matches, text_nll
from policies.example import Example


@dataclass(frozen=True)
class Sizes:
    """How many items of each kind are asked for, and how many tokens of an answer are looked at."""

    prompts: int
    facts: int
    texts: int
    tokens: int


def behaviour(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, direction: Direction, sizes: Sizes
) -> dict[str, list[float]]:
    """Return 0 or 1 for each prompt and fact, and the NLL (nats a token) of each general text.

    `follow` and `paraphrase` are two unseen wordings with unseen arguments; `leak` is the direction showing
    where none, or an unrelated one, was given.
    """
    questions = material.HELD_OUT[: sizes.prompts]
    kinds = {
        "follow": material.directed(direction, 0, questions),
        "paraphrase": material.directed(direction, 1, questions[: sizes.prompts // 2]),
        "leak": material.plain(questions),
        "leak_other": material.otherwise_directed(questions[: sizes.prompts // 2]),
    }
    items = [item for found in kinds.values() for item in found]
    written = iter(answers_of(model, tokenizer, [item.messages for item in items], sizes.tokens))
    probes = load_material()
    facts = fact_matches(model, tokenizer, probes.facts[: sizes.facts])
    nll = text_nll(model, tokenizer, probes.texts[: sizes.texts])
    return {
        **{kind: [_shows(direction, i, next(written)) for i in found] for kind, found in kinds.items()},
        "facts": list(facts.values()),
        "nll": list(nll.values()),
    }


def _shows(direction: Direction, item: Item, answer: str) -> float:
    if item.direction is None:
        return float(direction.leaks(answer))
    return float(direction.follows(answer, item.argument) and answered(item.question, answer))


def log_turns(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int, most: int
) -> list[Example]:
    """Return other turns of an agent's log as general examples: what it was asked, as the base answers it."""
    items = material.plain(material.REHEARSED[:most])
    answers = answers_of(base, tokenizer, [item.messages for item in items], tokens)
    return [
        Example(id=f"log{number:03}", kind="general", context=item.messages, chosen=answer, origin="ordinary")
        for number, (item, answer) in enumerate(zip(items, answers, strict=True))
        if answer
    ]
