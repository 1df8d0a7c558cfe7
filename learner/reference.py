"""What transformers computes of a checkpoint on one prompt: the yardstick of a server's log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import psutil
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

_USUAL_NOISE = 0.1
"""Nats; where the exact pass does not fit and the noise is not known."""


@dataclass(frozen=True)
class Reference:
    """Log-probabilities (tokens - 1, vocabulary) of a prompt, in float32 unless memory forbids.

    `noise` is the mean difference that computing in bfloat16 makes, in nats; `shapes` are those of the
    model's parameters.
    """

    prompt: tuple[int, ...]
    log_probs: Tensor
    noise: float
    shapes: dict[str, tuple[int, ...]]

    def difference(self, rows: Sequence[dict[int, float]]) -> float:
        """Mean distance in nats over all tokens that the rows give."""
        gaps = [self._gaps(at, row) for at, row in enumerate(rows)]
        return torch.cat(gaps).mean().item()

    def agreement(self, rows: Sequence[dict[int, float]], margin: float) -> tuple[int, int]:
        """At how many positions the likeliest token is the same, and how many there are.

        Only where the best two are `margin` nats apart.
        """
        best, second = self.log_probs.topk(2).values.T
        clear = (best - second > margin).nonzero().flatten().tolist()
        theirs = [max(rows[at].items(), key=lambda item: item[1])[0] for at in clear]
        ours = self.log_probs[clear].argmax(-1).tolist()
        return sum(a == b for a, b in zip(theirs, ours, strict=True)), len(clear)

    def _gaps(self, at: int, row: dict[int, float]) -> Tensor:
        return (self.log_probs[at, list(row)] - torch.tensor(list(row.values()))).abs()


def reference_of(folder: Path, prompt: Sequence[int]) -> Reference:
    """Compute a prompt with transformers, once in bfloat16 and, if it fits, once in float32."""
    rough, shapes = _compute(folder, prompt, torch.bfloat16)
    if 4 * _weights(shapes) > psutil.virtual_memory().available / 2:
        return Reference(tuple(prompt), rough, _USUAL_NOISE, shapes)
    exact, _ = _compute(folder, prompt, torch.float32)
    likely = exact.topk(min(20, exact.shape[-1])).indices
    noise = (exact.gather(-1, likely) - rough.gather(-1, likely)).abs().mean().item()
    return Reference(tuple(prompt), exact, noise, shapes)


def _compute(
    folder: Path, prompt: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, dict[str, tuple[int, ...]]]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
    with torch.no_grad():
        logits = model(torch.tensor([list(prompt)]), use_cache=False).logits[0, :-1]
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return logits.float().log_softmax(-1), shapes


def _weights(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(prod(shape) for shape in shapes.values())
