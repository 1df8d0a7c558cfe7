"""How a layer of a CPU server multiplies by a weight that lies in the arena."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (x [tokens, columns], weight, bias)

_CHUNK_ROWS = 1024  # of a weight that is widened at a time: about what the second cache holds


def packed_linear(packed: Tensor, rows: int) -> Linear:
    """The product by vLLM's packed kernel. It wants its bias in float32."""
    import vllm._custom_ops as ops

    def linear(x: Tensor, _weight: Tensor, bias: Tensor | None) -> Tensor:
        return ops.weight_packed_linear_cpu(x, packed, rows, None if bias is None else bias.float())

    return linear


def plain_linear(weight: Tensor) -> Linear:
    """The product by a plain weight: torch's own, or `widened_linear` where that is several times faster."""
    slow = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and not multiplies_bfloat16()
    return widened_linear if slow else functional.linear


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16; without them float32 is the faster type."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def widened_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`functional.linear` with bfloat16 in and out and the product in float32, part by part of the weight.

    A single token goes torch's way when run eagerly: there reading the weight is all the work.
    """
    if not torch.compiler.is_compiling() and x.numel() == x.shape[-1]:
        return functional.linear(x, weight, bias)
    wide, out = x.float(), x.new_empty(*x.shape[:-1], weight.shape[0])
    for start in range(0, weight.shape[0], _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        out[..., part] = functional.linear(
            wide, weight[part].float(), None if bias is None else bias[part].float()
        )
    return out
