"""Follow-rates of one direction on the Hugging Face model, steered as the server is, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import comb
from typing import Any

import torch
from torch import Tensor

from benchmarks.steering.directions import PAIRS, Direction, questions
from learner.base_model import resolve_model
from learner.generation import greedy
from learner.model import load_model
from learner.probing.material import load_material
from learner.steering.activations import nll_ratio, steered
from learner.steering.extraction import ANSWER_TOKENS, choose, find_directions, random_rows, rows_of
from learner.steering.pairs import Pair, ids_of
from learner.tokens import end_token, prompt_of
from policies.turn import Message

TOKENS = 24
HELD_OUT = 3
CONTROLS = 2
"""Random vectors; the better one counts."""


class Bench:
    """SmolLM2, the questions, and its own answers to them."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.model, self.tokenizer = load_model(resolve_model("smollm2", lambda *_: None))
        every = questions()
        self.asked, self.held_out = every[:PAIRS], every[PAIRS:]

    def measure(self, direction: Direction) -> dict[str, Any]:
        """Extract a vector from ten pairs, and measure it on questions that say nothing of the direction."""
        pairs = [
            ids_of(self.tokenizer, Pair(_turns(q), direction.correct(a), a), ANSWER_TOKENS)
            for q, a in zip(self.asked, self.plain, strict=True)
        ]
        split = len(pairs) - HELD_OUT
        directions = find_directions(self.model, pairs[:split])
        best = choose(self.model, directions, pairs[split:])
        layers = directions.mean.shape[0]
        rows = rows_of(directions, best.method, best.layer, best.scale, layers)
        controls = [self._rate(direction, random_rows(rows, seed)) for seed in range(CONTROLS)]
        off, on, count = self._rate(direction, None), self._rate(direction, rows), len(self.held_out)
        return {
            "simple": direction.simple,
            "off": off,
            "on": on,
            "random": max(controls),
            "p_value": fisher(round(on * count), round(max(controls) * count), count),
            "nll_ratio": nll_ratio(self.model, self.tokenizer, load_material().drawn(0).texts, rows),
            "method": best.method,
            "layer": best.layer,
            "strength": best.scale,
            "pairs": PAIRS,
            "n": count,
        }

    @cached_property
    def plain(self) -> list[str]:
        """The model's own answers to what is contrasted."""
        return self._answers(self.asked, ANSWER_TOKENS)

    @cached_property
    def unsteered(self) -> list[str]:
        """Its answers to the held-out questions with nothing on."""
        return self._answers(self.held_out, TOKENS)

    def _rate(self, direction: Direction, rows: Tensor | None) -> float:
        if rows is None:
            answers = self.unsteered
        else:
            with steered(self.model, rows):
                answers = self._answers(self.held_out, TOKENS)
        return sum(map(direction.follows, answers)) / len(answers)

    def _answers(self, asked: Sequence[str], tokens: int) -> list[str]:
        prompts = [prompt_of(self.tokenizer, list(_turns(question)), 1024).ids for question in asked]
        found = greedy(self.model, prompts, tokens, [end_token(self.tokenizer)])
        return [self.tokenizer.decode(a.ids, skip_special_tokens=True).strip() for a in found]


def fisher(on: int, control: int, count: int) -> float:
    """Probability of `on` or more of `count`, against `control` of as many, by chance (Fisher, one-sided)."""
    both = on + control
    ways = sum(comb(count, k) * comb(count, both - k) for k in range(on, min(both, count) + 1))
    return ways / comb(2 * count, both)


def _turns(question: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": question},)
