"""From an exact fp32 step to bf16 weights: stochastic rounding, or rounding with the error kept.

Round-to-nearest loses most of a small step: at lr 1e-5 an update is far below one bf16 ulp of most
weights, so 97 % of it vanishes. Either the rounding is unbiased (no memory), or what it left is
carried into the next step (one fp32 buffer).
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW_BITS = 16
"""A bf16 is the upper half of an fp32."""


def stochastic_round(values: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Round fp32 `values` to bf16, up or down with the probability that makes the mean exact.

    Adds 16 random low bits and cuts them off. Values that are not finite stay as they are.
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.empty_like(bits).random_(0, 1 << _LOW_BITS, generator=generator)
    rounded = noise.add_(bits).bitwise_and_(-1 << _LOW_BITS).view(torch.float32)
    return torch.where(torch.isfinite(values), rounded, values).to(torch.bfloat16)


def apply_with_remainder(weight: Tensor, remainder: Tensor, update: Tensor) -> Tensor:
    """Add an fp32 `update` to a `weight` that holds bf16 values (as bf16 or fp32); return the bf16 result.

    In place: afterwards `weight` is the rounded result and the fp32 `remainder` what rounding left, so
    that their sum follows the exact path. `update` is scratch space and holds no more meaning.
    """
    exact = update.add_(remainder).add_(weight)
    live = exact.to(torch.bfloat16)
    weight.copy_(live)
    torch.sub(exact, weight, out=remainder)
    return live
