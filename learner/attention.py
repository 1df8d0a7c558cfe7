"""Attention of the decisions of a forest on a CPU: each run reads its own line, and nothing of it is kept.

One masked product over all runs would compute what the mask throws away: half of it for the decisions of one
conversation. And autograd would keep a copy of all keys for each layer. The context is frozen: its keys and
values stand in the cache, need no gradient, and are put before those of a run again for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "heedloop_forest"

Span = tuple[int, int]
"""Where a stretch of packed keys begins and ends."""
Line = tuple[int, tuple[Span, ...]]
"""The length of a run, and the spans of the context that it reads."""


class _Attention(torch.autograd.Function):
    """softmax(q k^T) v of each run over its spans of the context and, causally, itself.

    All tensors are [1, heads, tokens, width]; several heads of `query` may share one of the keys.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        frozen: tuple[Tensor, Tensor],
        lines: Sequence[Line],
        scale: float,
    ) -> Tensor:
        outputs, sums = [], []
        for own, spans in _runs(lines):
            q, k, v, mask = _inputs(query, key, value, frozen, own, spans)
            output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, False, attn_mask=mask, scale=scale
            )
            outputs.append(_unfolded(output, query.shape[1]))
            sums.append(log_sum)
        output = torch.cat(outputs, 2)
        ctx.save_for_backward(query, key, value, output, *sums)
        ctx.frozen, ctx.lines, ctx.scale = frozen, lines, scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, *sums = ctx.saved_tensors
        parts: list[list[Tensor]] = [[], [], []]
        heads = key.shape[1]
        for (own, spans), log_sum in zip(_runs(ctx.lines), sums, strict=True):
            q, k, v, mask = _inputs(query, key, value, ctx.frozen, own, spans)
            found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _folded(gradients[0][:, :, own], heads), q, k, v, _folded(output[:, :, own], heads), log_sum,
                0.0, False, attn_mask=mask, scale=ctx.scale,
            )  # fmt: skip
            length = own.stop - own.start
            parts[0].append(_unfolded(found[0], query.shape[1]))
            parts[1].append(found[1][:, :, -length:])
            parts[2].append(found[2][:, :, -length:])
        return (*(torch.cat(part, 2) for part in parts), None, None, None)


def _runs(lines: Sequence[Line]) -> list[tuple[slice, tuple[Span, ...]]]:
    found, at = [], 0
    for length, spans in lines:
        found.append((slice(at, at + length), spans))
        at += length
    return found


def _inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    frozen: tuple[Tensor, Tensor],
    own: slice,
    spans: tuple[Span, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return query, keys, values and the additive mask of one run."""
    length = own.stop - own.start
    context = sum(stop - start for start, stop in spans)
    keys, values = (
        torch.cat([*(past[:, :, a:b] for a, b in spans), now[:, :, own]], 2)
        for past, now in zip(frozen, (key, value), strict=True)
    )
    ahead = torch.full((length, length), float("-inf"), dtype=query.dtype).triu(1)
    mask = torch.cat([torch.zeros(length, context, dtype=query.dtype), ahead], 1)
    q = _folded(query[:, :, own], key.shape[1])
    return q, keys, values, mask.repeat(query.shape[1] // key.shape[1], 1)


def _folded(tensor: Tensor, heads: int) -> Tensor:
    """Lay the query heads that share a key head one after the other, as more queries of that head."""
    return tensor.reshape(1, heads, -1, tensor.shape[-1])


def _unfolded(tensor: Tensor, heads: int) -> Tensor:
    return tensor.reshape(1, heads, -1, tensor.shape[-1])


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' `sdpa`; in the decisions of a forest (see `ForestCache.reading`) run by run."""
    reading = options.pop("reading", None)
    if reading is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return found
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    frozen, lines = reading(module.layer_idx)
    frozen = frozen or (key[:, :, :0], value[:, :, :0])
    output = _Attention.apply(query, key, value, frozen, lines, scale)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
