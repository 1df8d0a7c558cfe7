"""The context-frozen pass: context without gradient, decision tokens with gradient on top of it.

The context goes through the model under `no_grad` into a cache and without lm_head; then the lead and
the answer of each row, with gradient, read that cache. The loss equals the one of the full pass. The
gradient says how to READ the context (queries, outputs, MLP), not how to write it, at a third of the
time and a sixth of the memory. Use `no_grad`: tensors made in inference mode cannot be saved for backward.

What contexts have in common is computed once: all decision points of a conversation, chosen and rejected
answers, branch off one pass over it. The tokens of all rows stand packed in one sequence, without padding;
a mask keeps the rows apart (`learner.forest`), recurrent layers are taken apart (`learner.branching`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionLayer

from learner import attention
from learner.branching import AssigningLayer, ForestCache, branching
from learner.forest import Run, plant, positions, roots, visible
from learner.tokens import Row

_PACKED = 512
"""Context tokens in one pass: beyond it a mask over all costs more than passes of their own."""


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """Return an empty cache for `model` that gradients can pass through."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        AssigningLayer(number_of_states=layer.number_of_states)
        if type(layer) is LinearAttentionLayer
        else layer
        for layer in cache.layers
    ]
    return cache


@dataclass(frozen=True)
class Hidden:
    """Hidden states at the positions that predict a label, all rows one after the other.

    `states` [N, width], `labels` [N], `row` [N] the index of the row each belongs to.
    """

    states: Tensor
    labels: Tensor
    row: Tensor


def frozen_hidden(model: PreTrainedModel, rows: Sequence[Row]) -> Hidden:
    """Run the rows; the gradient flows into the lead and the answer of each row only."""
    outputs: dict[int, Tensor] = {}
    for indices, hidden in branch_states(model, rows):
        lengths = [len(rows[i].lead) + len(rows[i].answer) - 1 for i in indices]
        outputs.update(zip(indices, hidden.split(lengths), strict=True))
    states = [outputs[i][len(row.lead) - 1 :] for i, row in enumerate(rows)]
    labels = torch.tensor([token for row in rows for token in row.answer], device=model.device)
    index = torch.tensor([i for i, row in enumerate(rows) for _ in row.answer], device=model.device)
    return Hidden(torch.cat(states), labels, index)


def branch_states(model: PreTrainedModel, rows: Sequence[Row]) -> Iterator[tuple[list[int], Tensor]]:
    """Run the rows in groups that share contexts: yield the indices of the rows of each, and their states.

    The states [tokens, width] are packed: of each row the lead, and the answer without its last token. The
    model's last call before each yield is the one that computed them.
    """
    forest = plant([row.context for row in rows])
    first, by_run = len(forest.runs), _reads_by_run(model)
    ends = [Run((*row.lead, *row.answer[:-1]), *at) for row, at in zip(rows, forest.places, strict=True)]
    runs = (*forest.runs, *ends)
    with branching(model):
        for contexts, branches in _groups(runs, first):
            cache = ForestCache(model, runs, by_run)
            with torch.no_grad():
                for together in [contexts] if contexts and by_run else _passes(runs, contexts):
                    _run(model, cache, together)
            cache.as_rows = True
            yield [index - first for index in branches], _run(model, cache, branches)


def _groups(runs: Sequence[Run], first: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (contexts, decisions) that go together: one tree, or several of at most `_PACKED` context tokens.

    The runs from `first` on are the decisions.
    """
    root = roots(runs)
    contexts: list[int] = []
    branches: list[int] = []
    for tree in dict.fromkeys(root):
        members = [i for i, r in enumerate(root) if r == tree]
        grown = [*contexts, *(i for i in members if i < first)]
        if branches and sum(len(runs[i].ids) for i in grown) > _PACKED:
            yield contexts, branches
            grown, branches = [i for i in members if i < first], []
        contexts, branches = grown, [*branches, *(i for i in members if i >= first)]
    yield contexts, branches


def _passes(runs: Sequence[Run], contexts: list[int]) -> Iterator[list[int]]:
    """Yield the runs of each pass over the contexts of a group.

    A long root stands alone: without a mask, attention costs half.
    """
    if not contexts:
        return
    if sum(len(runs[i].ids) for i in contexts) <= _PACKED:
        yield contexts
        return
    yield contexts[:1]
    if contexts[1:]:
        yield contexts[1:]


def _run(model: PreTrainedModel, cache: ForestCache, now: Sequence[int]) -> Tensor:
    """Put packed runs through the model after those already in `cache`; return [tokens, width]."""
    cache.now = tuple(now)
    ids = torch.tensor([token for i in now for token in cache.runs[i].ids])
    hidden = model.model(
        input_ids=ids[None].to(model.device),
        attention_mask=None if cache.by_run else _masks(model, cache),
        position_ids=positions(cache.runs, now)[None].to(model.device),
        past_key_values=cache,
        use_cache=True,
        **({"reading": cache.reading} if cache.by_run else {}),
    ).last_hidden_state[0]
    cache.seen = (*cache.seen, *now)
    return hidden


def _reads_by_run(model: PreTrainedModel) -> bool:
    """Tell whether `learner.attention` computes attention: on a CPU, where each token sees its whole line."""
    windows = getattr(model.config, "sliding_window", None)
    ours = model.config._attn_implementation == attention.NAME
    return ours and model.device.type == "cpu" and not windows


def _masks(model: PreTrainedModel, cache: ForestCache) -> Tensor | dict[str, Tensor | None] | None:
    """Return what `model` takes as mask: one, one for each kind of layer, or none if it is causal."""
    if len(cache.seen) + len(cache.now) == 1:
        return None

    def mask(window: int | None) -> Tensor:
        seen = visible(cache.runs, cache.now, (*cache.seen, *cache.now), window)
        return seen[None, None].to(model.device)

    window = getattr(model.config, "sliding_window", None)
    kinds = set(getattr(model.config, "layer_types", None) or ())
    if "sliding_attention" not in kinds or len(kinds) == 1:
        return mask(None if kinds and "sliding_attention" not in kinds else window)
    return {kind: mask(window if kind == "sliding_attention" else None) for kind in kinds}


def pad(sequences: Sequence[Sequence[int]], left: bool) -> tuple[Tensor, Tensor]:
    """Return token ids and mask [rows, longest]; padding is id 0, masked."""
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, sequence in enumerate(sequences):
        start = longest - len(sequence) if left else 0
        ids[i, start : start + len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[i, start : start + len(sequence)] = 1
    return ids, mask
