"""What the trained model does on held-out prompts: greedy answers, checked by code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import MappingProxyType

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments import material
from learner.experiments.directions import Direction
from learner.generation import greedy
from learner.probing.material import Fact, load_material
from learner.probing.scores import fact_matches, matches, mean_nll
from learner.tokens import end_token, prompt_of
from policies.turn import Message

ANSWER_TOKENS = 64
_BATCH = 40
_QUALITY_FACTS = 40


def answers_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[Sequence[Message]],
    tokens: int,
) -> list[str]:
    """Return the greedy answer to each conversation."""
    prompts = [prompt_of(tokenizer, messages, 2048).ids for messages in contexts]
    found = greedy(model, prompts, tokens, [end_token(tokenizer)], batch_size=_BATCH)
    return [str(tokenizer.decode(answer.ids, skip_special_tokens=True)).strip() for answer in found]


def answered(question: str, answer: str) -> bool:
    """Tell whether a text still answers: words of its own, not the question or one phrase in a loop."""
    words = re.findall(r"[a-z']+", answer.lower())
    asked = set(re.findall(r"[a-z']+", question.lower()))
    own = [word for word in words if word not in asked]
    return len(own) >= 2 and len(set(words)) >= 0.4 * len(words)


class Scorer:
    """Scores a model; the base model's facts and NLL are taken once."""

    def __init__(
        self, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact]
    ) -> None:
        self._tokenizer, self._facts = tokenizer, facts
        self._texts = load_material().texts
        self.base_facts = fact_matches(base, tokenizer, facts)
        self.base_nll = mean_nll(base, tokenizer, self._texts)
        right = [fact for fact in facts if self.base_facts[fact.question]]
        plain = answers_of(
            base, tokenizer, [i.messages for i in material.plain([f.question for f in right])], 24
        )
        self._known = [f for f, answer in zip(right, plain, strict=True) if matches(f, answer)][
            :_QUALITY_FACTS
        ]

    def score(
        self,
        model: PreTrainedModel,
        directions: Sequence[Direction],
        shots: Sequence[Message] = (),
        shots_of: Mapping[str, Sequence[Message]] = MappingProxyType({}),
    ) -> dict[str, object]:
        """Return the figures of one trained model.

        `shots` are turns that stand before each question; `shots_of` those under a direction, by its name.
        """
        before = {d.name: shots_of.get(d.name, shots) for d in directions}
        follow = {d.name: self._follow(model, d, 0, before[d.name]) for d in directions}
        other = {d.name: self._follow(model, d, 1, before[d.name]) for d in directions}
        facts = fact_matches(model, self._tokenizer, self._facts)
        nll = mean_nll(model, self._tokenizer, self._texts)
        return {
            "follow": {name: fmean(hits) for name, hits in follow.items()},
            "follow_items": {name: hits for name, hits in follow.items()},
            "paraphrase": {name: fmean(hits) for name, hits in other.items()},
            "leak": self._leak(model, directions, material.plain(material.HELD_OUT), shots),
            "leak_other": self._leak(
                model, directions, material.otherwise_directed(material.HELD_OUT), shots
            ),
            "leak_no_system": self._leak(
                model, directions, material.without_system(material.HELD_OUT), shots
            ),
            "quality": self._quality(model, directions, before),
            "facts_delta": fmean(facts.values()) - fmean(self.base_facts.values()),
            "nll_ratio": nll / self.base_nll,
            "n": {
                "paraphrase": sum(len(hits) for hits in other.values()),
                "leak": len(material.HELD_OUT),
                "quality": len(self._known) * len(directions),
                "facts": len(facts),
                "texts": len(self._texts),
            },
        }

    def _answers(
        self, model: PreTrainedModel, items: Sequence[material.Item], shots: Sequence[Message]
    ) -> list[str]:
        return answers_of(
            model, self._tokenizer, [_behind(shots, item.messages) for item in items], ANSWER_TOKENS
        )

    def _follow(
        self, model: PreTrainedModel, direction: Direction, wording: int, shots: Sequence[Message]
    ) -> list[int]:
        items = material.directed(direction, wording, material.HELD_OUT)
        return [
            int(direction.follows(answer, item.argument) and answered(item.question, answer))
            for item, answer in zip(items, self._answers(model, items, shots), strict=True)
        ]

    def _leak(
        self,
        model: PreTrainedModel,
        directions: Sequence[Direction],
        items: Sequence[material.Item],
        shots: Sequence[Message],
    ) -> float:
        """Return the share of answers in which any of the directions shows, though none was given."""
        answers = self._answers(model, items, shots)
        return fmean(any(d.leaks(answer) for d in directions) for answer in answers)

    def _quality(
        self,
        model: PreTrainedModel,
        directions: Sequence[Direction],
        shots_of: Mapping[str, Sequence[Message]],
    ) -> float | None:
        """Return the share of the facts known to the base that is still right; None where it knows none."""
        right = []
        for direction in directions:
            items = material.directed(direction, 0, [fact.question for fact in self._known])
            answers = self._answers(model, items, shots_of[direction.name])
            right += [matches(fact, answer) for fact, answer in zip(self._known, answers, strict=True)]
        return fmean(right) if right else None


def _behind(shots: Sequence[Message], messages: Sequence[Message]) -> list[Message]:
    system = [m for m in messages if m["role"] == "system"]
    return [*system, *shots, *(m for m in messages if m["role"] != "system")]
