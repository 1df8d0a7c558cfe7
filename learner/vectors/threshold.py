"""The magnitude that the largest share of a whole vector's entries reaches, exactly, without sorting it.

The bits of a non-negative fp32 number order as the number does: a histogram over their upper 16 finds the
bucket, a second over the lower 16 the very value (radix selection). Two readings, 512 KiB.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learner.vectors.blocks import Deltas, blocks

_BUCKETS = 1 << 16


def magnitude_at(deltas: Deltas, share: float) -> float:
    """Return the k-th largest magnitude, k = ceil(share * entries), 0 < share <= 1.

    Only tensors that the vector changes count. NaN must have been refused before.
    """
    wanted = math.ceil(share * sum(math.prod(shape) for shape in deltas.shapes.values()))
    upper = torch.zeros(_BUCKETS, dtype=torch.int64)
    for *_, rows in blocks(deltas):
        upper += torch.bincount(_bits(rows) >> 16, minlength=_BUCKETS)
    high, above = _kth(upper, wanted)
    lower = torch.zeros(_BUCKETS, dtype=torch.int64)
    for *_, rows in blocks(deltas):
        bits = _bits(rows)
        lower += torch.bincount(bits[bits >> 16 == high] & 0xFFFF, minlength=_BUCKETS)
    low, _ = _kth(lower, wanted - above)
    return torch.tensor(high << 16 | low, dtype=torch.int32).view(torch.float32).item()


def _bits(rows: Tensor) -> Tensor:
    return rows.abs().contiguous().view(torch.int32).flatten()


def _kth(counts: Tensor, wanted: int) -> tuple[int, int]:
    """Return the bucket with the `wanted`-th entry from above, and how many lie in higher buckets."""
    from_above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_above, wanted))
    bucket = len(counts) - 1 - place
    return bucket, int(from_above[place] - counts[bucket])
