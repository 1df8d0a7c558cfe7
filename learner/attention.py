"""Attention of a forest on a CPU: each run reads its own line, and nothing of it is kept for backward.

One masked product over all runs would compute what the mask throws away: half of it for the decisions of one
conversation. And autograd would keep a copy of all keys for each layer. The context is frozen: its keys and
values stand in the cache, need no gradient, and are put before those of a run again for the backward pass.

The products are plain matrix products over blocks of queries, whose scores stay in the processor's cache:
2.5 times as fast in bf16 (2048 tokens) as torch's flash kernel for CPUs, which gains nothing from bf16 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "heedloop_forest"

_ROWS = 128
"""Queries of one head in a block. Half of a block's last square is computed in vain."""
_SCORES = 1 << 19
"""Scores that are computed at once if that is at least one head: 1 MiB in bf16."""

Span = tuple[int, int]
"""Where a stretch of packed keys begins and ends."""
Line = tuple[int, tuple[Span, ...]]
"""The length of a run, and the spans of the context that it reads."""
Block = tuple[slice, slice, int]
"""Key heads, queries, and the number of keys that they see."""


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
        ctx.save_for_backward(query, key, value)
        ctx.frozen, ctx.lines, ctx.scale = frozen, lines, scale
        output = torch.empty_like(query)
        for own, spans in _runs(lines):
            keys, values = _read(key, frozen[0], own, spans), _read(value, frozen[1], own, spans)
            queries, found = (_grouped(tensor[:, :, own], len(keys)) for tensor in (query, output))
            for heads, rows, seen in _blocks(queries, keys):
                q = queries[heads, :, rows]
                weights = _weights(q, keys[heads, :seen], scale)
                found[heads, :, rows] = torch.bmm(weights, values[heads, :seen]).view(q.shape)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        of_query, of_key, of_value = (torch.zeros_like(tensor) for tensor in (query, key, value))
        for own, spans in _runs(ctx.lines):
            keys, values = _read(key, ctx.frozen[0], own, spans), _read(value, ctx.frozen[1], own, spans)
            context = keys.shape[1] - (own.stop - own.start)
            queries, arrived, left = (
                _grouped(tensor[:, :, own], len(keys)) for tensor in (query, gradients[0], of_query)
            )
            for heads, rows, seen in _blocks(queries, keys):
                k, v = keys[heads, :seen], values[heads, :seen]
                q, given = queries[heads, :, rows], arrived[heads, :, rows].flatten(1, 2)
                weights = _weights(q, k, ctx.scale)
                of_weights = torch.bmm(given, v.transpose(1, 2))
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype) * ctx.scale
                left[heads, :, rows] = torch.bmm(of_scores, k).view(q.shape)
                mine = slice(own.start, own.start + seen - context)
                of_key[0, heads, mine] += of_scores[..., context:].transpose(1, 2) @ q.flatten(1, 2)
                of_value[0, heads, mine] += weights[..., context:].transpose(1, 2) @ given
        return of_query, of_key, of_value, None, None, None


def _runs(lines: Sequence[Line]) -> Iterator[tuple[slice, tuple[Span, ...]]]:
    """Yield where each run stands among the packed queries, and what it reads."""
    at = 0
    for length, spans in lines:
        yield slice(at, at + length), spans
        at += length


def _blocks(queries: Tensor, keys: Tensor) -> Iterator[Block]:
    """Cut [key heads, queries to each, rows, width] into blocks of rows; the rows' own keys are the last."""
    heads, shared, length, _ = queries.shape
    context = keys.shape[1] - length
    for start in range(0, length, _ROWS):
        rows = slice(start, min(start + _ROWS, length))
        seen = context + rows.stop
        together = max(1, _SCORES // (shared * (rows.stop - rows.start) * seen))
        for head in range(0, heads, together):
            yield slice(head, head + together), rows, seen


def _read(own_and_others: Tensor, frozen: Tensor, own: slice, spans: tuple[Span, ...]) -> Tensor:
    """Return the keys (or values) of a run's whole line, [heads, tokens, width]."""
    return torch.cat([*(frozen[0, :, a:b] for a, b in spans), own_and_others[0, :, own]], 1)


def _grouped(tensor: Tensor, heads: int) -> Tensor:
    """View [1, query heads, rows, width] as [key heads, queries to each, rows, width]."""
    return tensor[0].unflatten(0, (heads, -1))


def _weights(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Return softmax(q k^T), [heads, queries to each * rows, keys]; the last keys are those of the rows."""
    rows = queries.shape[2]
    scores = queries.new_empty(len(keys), queries.shape[1] * rows, keys.shape[1])
    torch.baddbmm(scores, queries.flatten(1, 2), keys.transpose(1, 2), beta=0, alpha=scale, out=scores)
    ahead = torch.full((rows, rows), float("-inf"), dtype=scores.dtype).triu(1)
    scores.unflatten(1, (-1, rows))[..., -rows:] += ahead
    return scores.softmax(-1)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' `sdpa`; in the passes of a forest (see `ForestCache.reading`) run by run."""
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
