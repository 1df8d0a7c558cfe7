"""Rounding and packing of weights as machine code: one pass over memory where torch needs several.

Compiled by numba at first use (about a second). `learner.rounding` and `learner.live.layout` hold the same in
torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bits32 = NDArray[np.uint32]
Bits16 = NDArray[np.uint16]
Floats = NDArray[np.float32]

_EXPONENT = np.uint32(0x7F800000)
_QUIET = np.uint16(0x0040)


@intrinsic
def _bits(typing: Any, value: Any) -> Any:
    """The bits of an fp32."""
    return types.uint32(types.float32), lambda context, builder, signature, given: builder.bitcast(
        given[0], ir.IntType(32)
    )


@intrinsic
def _float(typing: Any, value: Any) -> Any:
    """The fp32 of 32 bits."""
    return types.float32(types.uint32), lambda context, builder, signature, given: builder.bitcast(
        given[0], ir.FloatType()
    )


@njit(inline="always")
def _mixed(number: np.uint32) -> np.uint32:
    """A well mixed hash of 32 bits: two rounds of xor-shift and multiplication."""
    # numba widens sums and products to 64 bits, hence the casts
    number = np.uint32((number ^ (number >> np.uint32(16))) * np.uint32(0x21F0AAAD))
    number = np.uint32((number ^ (number >> np.uint32(15))) * np.uint32(0x735A2D97))
    return np.uint32(number ^ (number >> np.uint32(15)))


@njit(inline="always")
def _cut(bits: np.uint32, added: np.uint32) -> np.uint16:
    """Upper half of `bits + added`; infinities stay, NaN stays a (quiet) NaN."""
    finite = np.uint16((bits + added) >> np.uint32(16))
    special = np.uint16(bits >> np.uint32(16))
    if bits & np.uint32(0x007FFFFF):
        special |= _QUIET
    return special if (bits & _EXPONENT) == _EXPONENT else finite


@njit(nogil=True)
def stochastic(bits: Bits32, key: np.uint32, rounded: Bits16) -> None:
    """Round the fp32 values `bits` to bf16 with the noise of `key`; element i of it is the hash of i."""
    for i in range(bits.size):
        noise = _mixed(np.uint32(np.uint32(i) + key)) & np.uint32(0xFFFF)
        rounded[i] = _cut(bits[i], noise)


@njit(nogil=True)
def nearest_with_remainder(weight: Bits16, remainder: Floats, update: Floats) -> int:
    """Add `update` and `remainder` to the bf16 `weight`, in place; what rounding leaves is the new remainder.

    Returns how many weights changed.
    """
    changed = 0
    for i in range(weight.size):
        before = weight[i]
        exact = (update[i] + remainder[i]) + _float(np.uint32(before) << np.uint32(16))
        bits = _bits(exact)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        after = _cut(bits, np.uint32(0x7FFF) + odd)
        weight[i] = after
        remainder[i] = exact - _float(np.uint32(after) << np.uint32(16))
        changed += before != after
    return changed


@njit(nogil=True)
def pack(pairs: Bits32, packed: Bits32) -> None:
    """Permute rows of pairs, [32 * blocks, pairs], into [blocks, pairs, 32] (see `learner.live.layout`).

    Half the time of one strided copy in torch.
    """
    for block in range(packed.shape[0]):
        for pair in range(packed.shape[1]):
            for row in range(32):
                packed[block, pair, row] = pairs[32 * block + row, pair]
