"""What an adapter loses against the version it is near: measured on one model, filled three times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.probing.scores import (
    KL_TOKENS,
    BaseAnswer,
    Follows,
    base_answers,
    follow,
    kl_to_base,
    mean_nll,
)
from policies.example import Example

Weights = Callable[[], Iterable[tuple[str, Tensor]]]
"""Gives (name, tensor) of some weights, one after the other."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """Nats a token of general texts; KL(version || this) in nats a token, on the version's own answers to
    plain prompts; share of learned examples still followed, None where none of them can be checked.
    """

    nll: float
    kl: float
    follow: float | None


class Measure:
    """Measures one set of weights after the other in `model`, the base at the start and at the end."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        prompts: Sequence[str],
        learned: Sequence[Example],
        follows: Follows,
        max_tokens: int,
    ) -> None:
        self._model, self._tokenizer, self._texts, self._prompts = model, tokenizer, texts, prompts
        self._learned, self._follows, self._max_tokens = learned, follows, max_tokens
        self._parameters = dict(model.named_parameters())

    def compare(self, values: Weights, products: Weights) -> dict[str, Measured]:
        """Return what is measured of `base`, `version` (its `values`) and `adapter` (base + `products`)."""
        reference = self._with(values(), self._reference)
        return {
            "base": self._measured(reference),
            "version": self._with(values(), lambda: self._measured(reference)),
            "adapter": self._with(self._added(products()), lambda: self._measured(reference)),
        }

    def _added(self, products: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
        for name, product in products:
            yield name, self._parameters[name].float() + product.to(self._parameters[name].device)

    def _reference(self) -> list[BaseAnswer]:
        return base_answers(self._model, self._tokenizer, self._prompts, KL_TOKENS)

    def _measured(self, reference: Sequence[BaseAnswer]) -> Measured:
        kept = follow(self._model, self._tokenizer, self._learned, self._follows, self._max_tokens)
        return Measured(
            nll=mean_nll(self._model, self._tokenizer, self._texts),
            kl=fmean(kl_to_base(self._model, reference).values()),
            follow=fmean(kept.values()) if kept else None,
        )

    @torch.no_grad()
    def _with(self, weights: Iterable[tuple[str, Tensor]], measure: Callable[[], Result]) -> Result:
        """Measure with weights put in; the base's come back after it."""
        before: dict[str, Tensor] = {}
        for name, value in weights:
            before[name] = self._parameters[name].clone()
            self._parameters[name].copy_(value)
        try:
            return measure()
        finally:
            for name, value in before.items():
                self._parameters[name].copy_(value)
