"""Machine code: one pass over memory where torch needs several.

Rounding and packing of weights (`learner.rounding` and `learner.live.layout` hold the same in torch), and
Apollo's sums over channels (`learner.channels`; a channel is a row or a column of a matrix), which are taken
in any order, so that they can be vectorised. Compiled by numba at first use, in some seconds, and kept beside
the file where that can be written: numba looks at this file alone for changes, so all that is inlined stands
in it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bits32 = NDArray[np.uint32]
Bits16 = NDArray[np.uint16]
Floats = NDArray[np.float32]

_BESIDE = Path(__file__).with_name("__pycache__")
_KEPT = os.access(_BESIDE if _BESIDE.exists() else _BESIDE.parent, os.W_OK)
_EXPONENT = np.uint32(0x7F800000)
_QUIET = np.uint16(0x0040)
_SUMS = {"reassoc", "contract", "nsz"}


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


@intrinsic
def _number(typing: Any, value: Any) -> Any:
    """The fp32 of an fp32, or of the 16 bits of a bf16."""
    if value == types.float32:
        return types.float32(types.float32), lambda context, builder, signature, given: given[0]
    word = ir.IntType(32)

    def widened(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        bits = builder.shl(builder.zext(given[0], word), ir.Constant(word, 16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.uint16), widened


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


@njit(nogil=True, cache=_KEPT)
def stochastic(bits: Bits32, key: np.uint32, rounded: Bits16) -> None:
    """Round the fp32 values `bits` to bf16 with the noise of `key`; element i of it is the hash of i."""
    for i in range(bits.size):
        noise = _mixed(np.uint32(np.uint32(i) + key)) & np.uint32(0xFFFF)
        rounded[i] = _cut(bits[i], noise)


@njit(nogil=True, cache=_KEPT)
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


@njit(nogil=True, cache=_KEPT)
def pack(pairs: Bits32, packed: Bits32) -> None:
    """Permute rows of pairs, [32 * blocks, pairs], into [blocks, pairs, 32] (see `learner.live.layout`).

    Half the time of one strided copy in torch.
    """
    for block in range(packed.shape[0]):
        for pair in range(packed.shape[1]):
            for row in range(32):
                packed[block, pair, row] = pairs[32 * block + row, pair]


@njit(nogil=True, cache=_KEPT, fastmath=_SUMS, error_model="numpy")
def squares_of_rows(matrix: Bits16 | Floats, squares: Floats) -> None:
    """Take the sum of squares of each row."""
    for i in range(matrix.shape[0]):
        total = np.float32(0)
        for j in range(matrix.shape[1]):
            value = _number(matrix[i, j])
            total += value * value
        squares[i] = total


@njit(nogil=True, cache=_KEPT, fastmath=_SUMS, error_model="numpy")
def squares_of_columns(matrix: Bits16 | Floats, squares: Floats) -> None:
    """Take the sum of squares of each column."""
    squares[:] = 0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            value = _number(matrix[i, j])
            squares[j] += value * value


@njit(inline="always")
def _take_in(
    value: np.float32, first: np.float32, second: np.float32, betas: Floats
) -> tuple[np.float32, np.float32]:
    return (
        first + (np.float32(1) - betas[0]) * (value - first),
        betas[1] * second + (np.float32(1) - betas[1]) * value * value,
    )


@njit(nogil=True, cache=_KEPT, fastmath=_SUMS, error_model="numpy")
def moments_of_rows(
    small: Floats, first: Floats, second: Floats, betas: Floats, scales: Floats, ratio: Floats
) -> None:
    """Take `small` into Adam's moments; `ratio` is how much longer Adam would make each row.

    `scales` are the bias corrections of both moments and epsilon.
    """
    for i in range(small.shape[0]):
        before = after = np.float32(0)
        for j in range(small.shape[1]):
            value = small[i, j]
            m, v = _take_in(value, first[i, j], second[i, j], betas)
            first[i, j], second[i, j] = m, v
            step = (m * scales[0]) / (np.sqrt(v * scales[1]) + scales[2])
            before += value * value
            after += step * step
        ratio[i] = np.sqrt(after / before) if before > 0 else np.float32(0)


@njit(nogil=True, cache=_KEPT, fastmath=_SUMS, error_model="numpy")
def moments_of_columns(
    small: Floats, first: Floats, second: Floats, betas: Floats, scales: Floats, ratio: Floats
) -> None:
    """`moments_of_rows` where the channels are columns."""
    before = np.zeros(small.shape[1], np.float32)
    after = np.zeros(small.shape[1], np.float32)
    for i in range(small.shape[0]):
        for j in range(small.shape[1]):
            value = small[i, j]
            m, v = _take_in(value, first[i, j], second[i, j], betas)
            first[i, j], second[i, j] = m, v
            step = (m * scales[0]) / (np.sqrt(v * scales[1]) + scales[2])
            before[j] += value * value
            after[j] += step * step
    for j in range(small.shape[1]):
        ratio[j] = np.sqrt(after[j] / before[j]) if before[j] > 0 else np.float32(0)


@njit(nogil=True, cache=_KEPT, error_model="numpy")
def limited(
    squares: Floats, ratio: Floats, before: Floats, growth: float, least: float, rate: float, factors: Floats
) -> None:
    """Take the factors of a step whose norm-growth is limited, and its norm (see `learner.channels`)."""
    total = 0.0
    for i in range(squares.size):
        one = ratio[i if ratio.size > 1 else 0]
        total += squares[i] * one * one
    norm = np.sqrt(total)
    bound = growth * before[0]
    shortened = bound / norm if before[0] > least and norm > bound else 1.0
    before[0] = norm * shortened
    for i in range(ratio.size):
        factors[i] = ratio[i] * (shortened * -rate)


@njit(nogil=True, cache=_KEPT)
def scaled_with_remainder(
    weight: Bits16, remainder: Floats, gradient: Bits16 | Floats, rows: Floats, columns: Floats
) -> int:
    """Add `gradient` times the factors of its rows or columns to the bf16 `weight`, the rest to `remainder`.

    One of `rows` and `columns` is empty. Returns how many weights changed.
    """
    changed = 0
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            factor = rows[i] if rows.size else columns[j]
            before = weight[i, j]
            step = _number(gradient[i, j]) * factor
            exact = (step + remainder[i, j]) + _float(np.uint32(before) << np.uint32(16))
            bits = _bits(exact)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            after = _cut(bits, np.uint32(0x7FFF) + odd)
            weight[i, j] = after
            remainder[i, j] = exact - _float(np.uint32(after) << np.uint32(16))
            changed += before != after
    return changed
