"""From an exact fp32 step to bf16 weights: stochastic rounding, or rounding with the error kept.

Round-to-nearest loses most of a small step: at lr 1e-5 an update is far below one bf16 ulp of most
weights, so 97 % of it vanishes. Either the rounding is unbiased (no memory), or what it left is
carried into the next step (one fp32 buffer).

On a CPU both are one pass of machine code (`learner.kernels`); the arithmetic in torch is the twin of it, bit
for bit, for other devices and for tests.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner import kernels

_CHUNK = 1 << 22
"""Elements whose noise is drawn at once: 64-bit scratch of 32 MiB a tensor on a device."""
_WORD = 0xFFFFFFFF


def noise_key(seed: int, name: str, step: int) -> int:
    """Return the 32-bit key of the noise for one tensor at one step."""
    digest = hashlib.blake2b(f"{seed}/{name}/{step}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def stochastic_round(values: Tensor, key: int) -> Tensor:
    """Round fp32 `values` to bf16, up or down with the probability that makes the mean exact.

    Adds 16 pseudo-random low bits, a function of `key` and the place of the value, and cuts them off: the
    same on every device and after a restart. Infinities and NaN stay what they are.
    """
    if values.device.type != "cpu":
        return stochastic_round_in_torch(values, key)
    rounded = torch.empty(values.shape, dtype=torch.bfloat16)
    bits = values.contiguous().view(torch.int32)
    kernels.stochastic(_unsigned(bits), np.uint32(key & _WORD), _unsigned(rounded.view(torch.int16)))
    return rounded


def stochastic_round_in_torch(values: Tensor, key: int) -> Tensor:
    """`stochastic_round` in plain torch operations."""
    flat = values.contiguous().view(-1)
    rounded = torch.empty(flat.shape, dtype=torch.bfloat16, device=values.device)
    for start in range(0, flat.numel(), _CHUNK):
        part = flat[start : start + _CHUNK]
        index = torch.arange(start, start + part.numel(), device=values.device)
        bits = part.view(torch.int32).to(torch.int64)
        cut = (bits + (_mixed((index + key) & _WORD) & 0xFFFF)) & ~0xFFFF
        exact = cut.to(torch.int32).view(torch.float32)
        rounded[start : start + _CHUNK] = torch.where(torch.isfinite(part), exact, part).to(torch.bfloat16)
    return rounded.view(values.shape)


def apply_with_remainder(weight: Tensor, remainder: Tensor, update: Tensor) -> int:
    """Add an fp32 `update` to a `weight` that holds bf16 values (as bf16 or fp32). Returns how many changed.

    In place: afterwards `weight` is the rounded result and the fp32 `remainder` what rounding left, so
    that their sum follows the exact path. `update` is scratch space and holds no more meaning.
    """
    tensors = (weight, remainder, update)
    if weight.dtype == torch.bfloat16 and all(t.device.type == "cpu" and t.is_contiguous() for t in tensors):
        bits = _unsigned(weight.view(torch.int16))
        left, step = (t.view(-1).numpy() for t in (remainder, update))
        return int(kernels.nearest_with_remainder(bits, left, step))
    return apply_with_remainder_in_torch(weight, remainder, update)


def apply_with_remainder_in_torch(weight: Tensor, remainder: Tensor, update: Tensor) -> int:
    """`apply_with_remainder` in plain torch operations, on any device and for fp32 weights."""
    exact = update.add_(remainder).add_(weight)
    live = exact.to(torch.bfloat16).to(weight.dtype)
    changed = int(torch.count_nonzero(live != weight))
    weight.copy_(live)
    torch.sub(exact, weight, out=remainder)
    return changed


def _mixed(number: Tensor) -> Tensor:
    """The hash of `learner.kernels`, on 32-bit numbers held in int64."""
    number = number ^ (number >> 16)
    number = _product(number, 0x21F0AAAD)
    number = number ^ (number >> 15)
    number = _product(number, 0x735A2D97)
    return number ^ (number >> 15)


def _product(number: Tensor, factor: int) -> Tensor:
    """Low 32 bits of a product, taken in two halves: int64 would overflow."""
    low, high = factor & 0xFFFF, factor >> 16
    return (number * low + ((number * high & 0xFFFF) << 16)) & _WORD


def _unsigned(bits: Tensor) -> NDArray[np.unsignedinteger]:
    """The same memory as flat unsigned integers."""
    flat = bits.view(-1).numpy()
    return flat.view(np.dtype(f"u{flat.itemsize}"))
