"""What a vector is worth and costs, against a random one of the same norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import comb
from statistics import fmean

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.probing.material import ProbeMaterial
from learner.probing.scores import fact_matches
from learner.steering.activations import steered
from learner.steering.general import GeneralText

Rates = dict[str, float]
"""A share for each of off, on, random."""


def led_elsewhere(prompts: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the prompts under unrelated directions, in turn: what shows there, leaks."""
    return [f"{prompt} {others[n % len(others)]}" for n, prompt in enumerate(prompts)]


def rates(
    answers: Mapping[str, Sequence[str]], follows: Callable[[str], bool], prompts: int
) -> dict[str, Rates]:
    """Return follow-rate and leak of answers to `prompts` prompts and then to as many led elsewhere."""
    shown = {what: [follows(answer) for answer in found] for what, found in answers.items()}
    return {
        "follow": {what: fmean(hits[:prompts]) for what, hits in shown.items()},
        "leak": {what: fmean(hits[prompts:]) for what, hits in shown.items()},
    }


def general(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    material: ProbeMaterial,
    trials: Mapping[str, Tensor | None],
) -> dict[str, Rates]:
    """Return what general text and facts say under each of the trials; None is no vector."""
    facts, nll, text = {}, {}, GeneralText(model, tokenizer, material.texts)
    for what, rows in trials.items():
        with steered(model, rows):
            facts[what] = fmean(fact_matches(model, tokenizer, material.facts).values())
        nll[what] = 1.0 if rows is None else text.ratio(rows)
    return {"facts": facts, "nll_ratio": nll}


def fisher(on: int, control: int, count: int) -> float:
    """Probability of `on` or more of `count`, against `control` of as many, by chance (Fisher, one-sided)."""
    both = on + control
    ways = sum(comb(count, k) * comb(count, both - k) for k in range(on, min(both, count) + 1))
    return ways / comb(2 * count, both)
