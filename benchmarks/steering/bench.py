"""Follow-rates of one direction on the Hugging Face model, steered as the server is, and what it costs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from benchmarks.steering.directions import PAIRS, Direction, questions
from learner.base_model import resolve_model
from learner.model import load_model
from learner.probing.material import load_material
from learner.steering.extraction import ANSWER_TOKENS, random_rows, rows_of
from learner.steering.making import make
from learner.steering.pairs import Pair, from_file
from learner.steering.tryout import Tryout
from learner.steering.verification import fisher
from policies.turn import Message

TOKENS = 24
CONTROLS = 2
"""Random vectors; the better one counts."""


class Bench:
    """SmolLM2, the questions, and its own answers to them."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.model, self.tokenizer = load_model(resolve_model("smollm2", lambda *_: None))
        self._texts = load_material().drawn(0).texts
        every = questions()
        self.asked = every[:PAIRS]
        self.held_out = self._on(every[PAIRS:], TOKENS)

    def measure(self, direction: Direction) -> dict[str, Any]:
        """Make a vector of ten pairs as `steer extract` does; measure it on questions without the direction.

        An answer that is a loop or gibberish follows nothing, steered or not.
        """
        shows = lambda _prompt, _answer, text: direction.follows(text)  # noqa: E731
        made = make(self.model, self.tokenizer, self._pairs(direction), None, shows=shows)
        best = made.choice
        rows = rows_of(made.directions, best.method, best.layer, best.scale, made.directions.mean.shape[0])
        controls = [random_rows(rows, seed) for seed in range(CONTROLS)]
        off, on, *others = self.held_out.hits([None, rows, *controls], shows)
        control, count = max(map(sum, others)), len(on)
        return {
            "simple": direction.simple,
            "off": sum(off) / count,
            "on": sum(on) / count,
            "random": control / count,
            "p_value": fisher(sum(on), control, count),
            "nll_ratio": self.held_out.nll_ratio(rows),
            "method": best.method,
            "layer": best.layer,
            "strength": best.scale,
            "validation": {"off": best.off, "on": best.on},
            "answers": self.held_out.answers(rows)[:3],
            "pairs": PAIRS,
            "n": count,
        }

    @cached_property
    def _plain(self) -> list[str]:
        """The model's own answers to what is contrasted."""
        return self._on(self.asked, ANSWER_TOKENS).answers(None)

    def _pairs(self, direction: Direction) -> list[Pair]:
        if direction.correct is None:
            assert direction.pairs is not None, "a direction has one or the other"
            return from_file(direction.pairs)
        return [
            Pair(_turns(question), direction.correct(answer), answer)
            for question, answer in zip(self.asked, self._plain, strict=True)
        ]

    def _on(self, asked: list[str], tokens: int) -> Tryout:
        return Tryout(self.model, self.tokenizer, [_turns(q) for q in asked], self._texts, tokens)


def _turns(question: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": question},)
