"""All probes together, quick or full, on one model that holds the live weights."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.probing import scores
from learner.probing.material import ProbeMaterial
from policies.example import Example

FOLLOW_ITEMS = 8


@dataclass(frozen=True)
class ProbeRun:
    """`scores[probe][item]` and the seconds it took."""

    scores: dict[str, dict[str, float]]
    seconds: float


class ProbeSuite:
    """Runs the probes; the base model's answers for KL are made once, at the start."""

    def __init__(
        self,
        model: PreTrainedModel,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        material: ProbeMaterial,
        follows: scores.Follows,
        max_tokens: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._full = material
        self._quick = material.quick()
        self._follows = follows
        self._max_tokens = max_tokens
        self._base = base
        self._answers = scores.base_answers(base, tokenizer, self._quick.prompts, scores.KL_TOKENS)
        self._answers_under: dict[str, list[scores.BaseAnswer]] = {}

    def run(self, learned: Sequence[Example], systems: Sequence[str] = (), *, full: bool = False) -> ProbeRun:
        """Score the weights as they are now.

        `learned` are the examples whose directions must still hold; `systems` the agent's own system turns,
        without what was learned: nothing of it may show there. The worst of them counts.
        """
        began = time.monotonic()
        material = self._full if full else self._quick
        found = {
            "nll": scores.text_nll(self._model, self._tokenizer, material.texts),
            "facts": scores.fact_matches(self._model, self._tokenizer, material.facts),
            "kl": scores.kl_to_base(self._model, self._answers),
        }
        if systems:
            under = [scores.kl_to_base(self._model, self._under(system)) for system in systems]
            found["leak"] = max(under, key=lambda items: sum(items.values()) / len(items))
        if learned:
            chosen = spread_over_directions(learned, FOLLOW_ITEMS)
            found["follow"] = scores.follow(
                self._model, self._tokenizer, chosen, self._follows, self._max_tokens
            )
        return ProbeRun(found, time.monotonic() - began)

    def _under(self, system: str) -> list[scores.BaseAnswer]:
        """Return the base's answers under a system turn, made at its first use."""
        if system not in self._answers_under:
            self._answers_under[system] = scores.base_answers(
                self._base, self._tokenizer, self._quick.prompts, scores.LEAK_TOKENS, system
            )
        return self._answers_under[system]


def spread_over_directions(examples: Sequence[Example], count: int) -> list[Example]:
    """Pick at most `count` examples, taking directions in turn, the newest of each first."""
    by_direction: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_direction[example.direction or ""].append(example)
    chosen: list[Example] = []
    while len(chosen) < count and any(by_direction.values()):
        for waiting in by_direction.values():
            if waiting and len(chosen) < count:
                chosen.append(waiting.pop())
    return chosen
