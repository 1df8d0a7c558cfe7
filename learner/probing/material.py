"""The fixed items of the probes. None of them is ever in a training batch (tested)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Fact(BaseModel):
    """A question whose answer contains one of `answers` (lower case, whole words)."""

    model_config = ConfigDict(frozen=True)

    question: str
    answers: tuple[str, ...]


class ProbeMaterial(BaseModel):
    """Facts, passages of human text, and plain prompts."""

    model_config = ConfigDict(frozen=True)

    facts: tuple[Fact, ...]
    texts: tuple[str, ...]
    prompts: tuple[str, ...]

    def quick(self) -> ProbeMaterial:
        """Return an evenly spread part, small enough to run every few steps."""
        return ProbeMaterial(
            facts=_spread(self.facts, 24), texts=_spread(self.texts, 8), prompts=_spread(self.prompts, 8)
        )


def load_material() -> ProbeMaterial:
    """Read the items from the package."""
    data = files("learner.probing").joinpath("data")
    facts = [json.loads(line) for line in data.joinpath("facts.jsonl").read_text().splitlines()]
    texts = [json.loads(line)["text"] for line in data.joinpath("texts.jsonl").read_text().splitlines()]
    prompts = data.joinpath("prompts.txt").read_text().splitlines()
    return ProbeMaterial.model_validate({"facts": facts, "texts": texts, "prompts": prompts})


def _spread(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """Pick `count` items at even distances, all of them where there are fewer."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[index * len(items) // count] for index in range(count))
