"""The difference of a tensor to the base model's, exactly, in few bytes.

Bit patterns are subtracted as integers (modulo their width) and folded so that small differences of either
sign are small numbers: a weight that moved by one unit in the last place is 1 or 2, whatever its exponent,
where an exclusive or would flip a run of bits at each carry. Bytes of equal weight then stand together, so
that the upper plane is nearly all zero, and runs and Huffman codes do the rest: dictionary search finds
nothing in such data. On 20 steps of SmolLM2: 0.14 of the bf16 bytes; 0.19 with deflate's default strategy,
0.16 with exclusive or.
"""

from __future__ import annotations

import zlib
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_INTEGERS: dict[torch.dtype, torch.dtype] = {
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
}
_RAW_DEFLATE = -15
_MEMORY = 9
_PART = 1 << 18
"""Elements that are folded or unfolded at once: scratch of a few MiB, whatever the tensor."""


def same_bits(value: Tensor, base: Tensor) -> bool:
    """Tell whether two tensors of one type and shape are the same bit for bit; NaN and -0 are, too."""
    integer = _INTEGERS[value.dtype]
    return torch.equal(value.view(integer), base.view(integer))


def encode(value: Tensor, base: Tensor) -> bytes:
    """Return what `decode` needs beside `base` to give `value`; both on the CPU, of one shape and type."""
    now, before = _integers(value), _integers(base)
    width, parts = now.itemsize, []
    deflate = zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE, _MEMORY, zlib.Z_RLE)
    for plane in range(width):
        for start in range(0, len(now), _PART):
            folded = now[start : start + _PART] - before[start : start + _PART]
            folded = (folded << 1) ^ (folded >> (8 * width - 1))
            parts.append(deflate.compress(np.ascontiguousarray(folded.view(np.uint8)[plane::width]).data))
    return b"".join((*parts, deflate.flush()))


def decode(delta: bytes, base: Tensor) -> Tensor:
    """Return the tensor that `delta` was made of. Raises ValueError where its size is another."""
    width, count = base.dtype.itemsize, prod(base.shape)
    try:
        raw = zlib.decompress(delta, _RAW_DEFLATE, width * count or 1)
    except zlib.error as error:
        raise ValueError(f"not a delta: {error}") from error
    if len(raw) != width * count:
        raise ValueError(f"a delta of {len(raw)} bytes for a tensor of {width * count}")
    planes = np.frombuffer(raw, np.uint8).reshape(width, count)
    before, value = _integers(base), np.empty(count, f"<i{width}")
    for start in range(0, count, _PART):
        part = np.ascontiguousarray(planes[:, start : start + _PART].T).view(f"<u{width}").reshape(-1)
        moved = (part >> 1).view(f"<i{width}") ^ -(part & 1).view(f"<i{width}")
        value[start : start + _PART] = before[start : start + _PART] + moved
    return torch.from_numpy(value).view(base.dtype).view(base.shape)


def _integers(tensor: Tensor) -> NDArray[np.signedinteger]:
    """The bit patterns as flat signed integers."""
    return tensor.contiguous().view(_INTEGERS[tensor.dtype]).view(-1).numpy()
