"""The fixed items of the probes. None of them is ever replayed or rehearsed (tested)."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from learner.probing.own import OwnProbe, read_own

Item = TypeVar("Item")


class Fact(BaseModel):
    """A question whose answer contains one of `answers` (lower case, whole words)."""

    model_config = ConfigDict(frozen=True)

    question: str
    answers: tuple[str, ...]


class ProbeMaterial(BaseModel):
    """Facts, passages of human text, plain prompts, and what the user probes."""

    model_config = ConfigDict(frozen=True)

    facts: tuple[Fact, ...]
    texts: tuple[str, ...]
    prompts: tuple[str, ...]
    own: tuple[OwnProbe, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """Return everything that is asked: nothing of it is ever replayed or rehearsed."""
        return (*(fact.question for fact in self.facts), *self.prompts, *(one.prompt for one in self.own))

    def drawn(self, number: int) -> ProbeMaterial:
        """Return the items of check `number`: few enough to run every few steps, drawn anew for each check.

        What the evidence of the guard says of all items rests on that draw.
        """
        draw = random.Random(number)
        return ProbeMaterial(
            facts=_drawn(self.facts, 24, draw),
            texts=_drawn(self.texts, 8, draw),
            prompts=_drawn(self.prompts, 8, draw),
            own=_drawn(self.own, 16, draw),
        )

    def without(self, part: ProbeMaterial) -> ProbeMaterial:
        """Return the items that are not in `part`."""
        return ProbeMaterial(
            facts=tuple(item for item in self.facts if item not in part.facts),
            texts=tuple(item for item in self.texts if item not in part.texts),
            prompts=tuple(item for item in self.prompts if item not in part.prompts),
            own=tuple(item for item in self.own if item not in part.own),
        )


def load_material(own: Path | None = None) -> ProbeMaterial:
    """Read the items from the package, and the user's from a YAML file. Raises ConfigError for a bad one."""
    data = files("learner.probing").joinpath("data")
    facts = [json.loads(line) for line in data.joinpath("facts.jsonl").read_text().splitlines()]
    texts = [json.loads(line)["text"] for line in data.joinpath("texts.jsonl").read_text().splitlines()]
    prompts = data.joinpath("prompts.txt").read_text().splitlines()
    theirs = () if own is None else read_own(own)
    return ProbeMaterial.model_validate({"facts": facts, "texts": texts, "prompts": prompts, "own": theirs})


def _drawn(items: Sequence[Item], count: int, draw: random.Random) -> tuple[Item, ...]:
    """Draw `count` items without putting back, all of them where there are fewer."""
    return tuple(draw.sample(list(items), min(count, len(items))))
