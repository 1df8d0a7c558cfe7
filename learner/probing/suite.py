"""All probes together, quick or full, on one model that holds the live weights."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.probing import scores
from learner.probing.health import health
from learner.probing.material import ProbeMaterial
from policies.example import Example
from policies.rehearsing import bare
from policies.turn import Message

FOLLOW_ITEMS = 8
CHOICES = 8
HEALTH_ITEMS = 4
HARM_ITEMS = 8
HEALTH = frozenset({"repetition", "entropy"})
ALONG = frozenset({"kl", "length"})
PROBES = HEALTH | ALONG | {"nll", "facts", "choice", "leak", "follow", "own"}


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
        self._asked = frozenset(map(bare, material.asked))
        self._follows = follows
        self._max_tokens = max_tokens
        self._base = base
        made = scores.base_answers(base, tokenizer, material.prompts, scores.KL_TOKENS)
        self._answers = {answer.item: answer for answer in made}
        self._answers_under: dict[str, list[scores.BaseAnswer]] = {}

    def run(
        self,
        learned: Sequence[Example],
        systems: Sequence[str] = (),
        *,
        part: ProbeMaterial | None = None,
        check: int = 0,
        batch_size: int = 32,
        only: Collection[str] = PROBES,
    ) -> ProbeRun:
        """Score the weights as they are now: all items or a `part` of them, all probes or `only` some.

        `learned` are the examples whose directions must still hold, of which some are drawn anew for each
        number of a `check`; `systems` the agent's own system turns,
        without what was learned: nothing of it may show there. The worst of them counts. Another `batch_size`
        changes nothing but the rounding.
        """
        began = time.monotonic()
        material = self._full if part is None else part
        found = self._general(material, batch_size, only)
        if systems and material.prompts and "leak" in only:
            under = [
                scores.kl_to_base(self._model, self.under(system, material.prompts)) for system in systems
            ]
            found["leak"] = max(under, key=lambda items: sum(items.values()) / len(items))
            self._answers_under = {system: self._answers_under[system] for system in systems}
        if learned and "follow" in only:
            chosen = spread_over_directions(learned, FOLLOW_ITEMS, random.Random(check))
            found["follow"] = scores.follow(
                self._model, self._tokenizer, chosen, self._follows, self._max_tokens, batch_size
            )
        return ProbeRun(found, time.monotonic() - began)

    def _general(
        self, material: ProbeMaterial, batch_size: int, only: Collection[str]
    ) -> dict[str, dict[str, float]]:
        """Score what needs nothing but the material."""
        model, tokenizer = self._model, self._tokenizer
        answers = [self._answers[prompt] for prompt in material.prompts]
        found: dict[str, dict[str, float]] = {}
        if material.texts and "nll" in only:
            found["nll"] = scores.text_nll(model, tokenizer, material.texts)
        if material.facts and "facts" in only:
            found["facts"] = scores.fact_matches(model, tokenizer, material.facts, 2 * batch_size)
        if material.facts and "choice" in only:
            found["choice"] = scores.choices(model, tokenizer, material.facts[:CHOICES], self._full.facts)
        if answers and ALONG.intersection(only):
            found |= scores.against_base(model, tokenizer, answers)
        if answers and HEALTH.intersection(only):
            now = scores.answers_now(model, tokenizer, answers[:HEALTH_ITEMS], batch_size)
            found |= health(now, {answer.item: answer.answer for answer in answers})
        if material.own and "own" in only:
            found["own"] = scores.own_passes(model, tokenizer, material.own, self._max_tokens, batch_size)
        return found

    def asks(self, context: Sequence[Message]) -> bool:
        """Tell whether a conversation asks what a probe asks: to train on it would blind the probe."""
        return any(turn["role"] == "user" and bare(str(turn["content"])) in self._asked for turn in context)

    @property
    def own(self) -> set[str]:
        """Return the names of the user's probes."""
        return {probe.name for probe in self._full.own}

    def own_of_base(self) -> dict[str, float]:
        """Return what the base model scores on the user's probes."""
        return scores.own_passes(self._base, self._tokenizer, self._full.own, self._max_tokens, 32)

    def drawn(self, number: int) -> ProbeMaterial:
        """Return the items of check `number`."""
        return self._full.drawn(number)

    def rest(self, part: ProbeMaterial) -> ProbeMaterial:
        """Return all items but those of `part`."""
        return self._full.without(part)

    def harm(self, probe: str, systems: Sequence[str]) -> torch.Tensor:
        """Return a loss that is large where `probe` is bad, with a gradient: with it, causes are looked for.

        Where a probe has none of its own, it is the distance from the base on plain prompts.
        """
        if probe == "nll":
            return scores.text_loss(self._model, self._tokenizer, self._full.texts[:HARM_ITEMS])
        prompts = self._full.prompts[:HARM_ITEMS]
        if probe == "leak" and systems:
            under = [scores.kl_losses(self._model, self.under(system, prompts)).mean() for system in systems]
            return torch.stack(under).max()
        return scores.kl_losses(self._model, [self._answers[prompt] for prompt in prompts]).mean()

    def under(self, system: str, prompts: Sequence[str]) -> list[scores.BaseAnswer]:
        """Return the base's answers to some prompts under a system turn, all made at its first use."""
        if system not in self._answers_under:
            self._answers_under[system] = scores.base_answers(
                self._base, self._tokenizer, self._full.prompts, scores.LEAK_TOKENS, system
            )
        made = dict(zip(self._full.prompts, self._answers_under[system], strict=True))
        return [made[prompt] for prompt in prompts]


def spread_over_directions(
    examples: Sequence[Example], count: int, draw: random.Random | None = None
) -> list[Example]:
    """Pick at most `count` examples, taking directions in turn, the newest of each first.

    The turn goes by age, or is drawn: where directions are more than `count`, each is then in some checks,
    with the same example, which compares in pairs.
    """
    by_direction: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_direction[example.direction or ""].append(example)
    turn = list(by_direction.values())
    if draw is not None:
        draw.shuffle(turn)
    chosen: list[Example] = []
    while len(chosen) < count and any(turn):
        for waiting in turn:
            if waiting and len(chosen) < count:
                chosen.append(waiting.pop())
    return chosen
