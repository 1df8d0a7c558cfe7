"""The packed layout of vLLM's CPU kernels: blocks of 32 rows, columns in pairs.

packed[block, pair, row, 2] = weight[32 * block + row, 2 * pair + (0, 1)]: a pure permutation of the weight.
Seen as int32 (one pair of 16-bit numbers) it is a 32 x K/2 transpose per block, so a writer fills it with
one strided copy.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 32


def packable(rows: int, columns: int, dtype: torch.dtype) -> bool:
    """Whether a (rows, columns) matrix has this layout."""
    return rows % BLOCK == 0 and columns % BLOCK == 0 and dtype == torch.bfloat16


def pairs(packed: Tensor, rows: int, columns: int) -> Tensor:
    """The packed buffer in the weight's order: a strided int32 view (rows / 32, 32, columns / 2), no copy."""
    return packed.view(torch.int32).view(rows // BLOCK, columns // 2, BLOCK).permute(0, 2, 1)


def write_rows(packed: Tensor, rows: int, columns: int, first: int, weight: Tensor) -> None:
    """Write `weight` (n, columns), 16-bit, as rows `first` .. `first + n` of the packed (rows, columns)
    matrix.
    """
    source = weight.contiguous().view(torch.int32)
    view = pairs(packed, rows, columns)
    done = 0
    for block, row, count in _spans(first, source.shape[0]):
        piece = source[done : done + count]
        if row or count < BLOCK:
            view[block, row : row + count].copy_(piece)
        else:
            blocks = packed.view(torch.int32).view(-1, columns // 2, BLOCK)[block : block + count // BLOCK]
            _pack(piece, blocks)
        done += count


def read_rows(packed: Tensor, rows: int, columns: int, first: int, count: int) -> Tensor:
    """Rows `first` .. `first + count` of the packed matrix, as a new (count, columns) tensor."""
    low, high = first // BLOCK, -(-(first + count) // BLOCK)
    whole = pairs(packed, rows, columns)[low:high].contiguous().view(-1, columns // 2)
    start = first - low * BLOCK
    return whole[start : start + count].view(packed.dtype)


def _pack(pairs: Tensor, packed: Tensor) -> None:
    # Imported late: a vLLM worker, while it starts, looks into all modules, and chokes on numba's (0.32.0,
    # vllm/triton_utils/dispatcher.py).
    from learner import kernels

    kernels.pack(_words(pairs), _words(packed))


def _words(tensor: Tensor) -> NDArray[np.uint32]:
    return tensor.numpy().view(np.uint32)


def _spans(first: int, count: int) -> list[tuple[int, int, int]]:
    """Cut rows into (block, row in the block, count): a ragged head, whole blocks at once, a ragged tail."""
    spans = []
    while count:
        row = first % BLOCK
        size = min(count, BLOCK - row) if row or count < BLOCK else count - count % BLOCK
        spans.append((first // BLOCK, row, size))
        first, count = first + size, count - size
    return spans
