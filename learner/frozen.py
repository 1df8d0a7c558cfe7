"""The context-frozen pass: context without gradient, decision tokens with gradient on top of it.

The context goes through the model under `no_grad` into a cache and without lm_head; then the lead and
the answer of each row, with gradient, read that cache. The loss equals the one of the full pass. The
gradient says how to READ the context (queries, outputs, MLP), not how to write it, at a third of the
time and a sixth of the memory. Use `no_grad`: tensors made in inference mode cannot be saved for backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionLayer

from learner.tokens import Row


class _AssigningLayer(LinearAttentionLayer):
    """A recurrent state that is replaced, not overwritten.

    The stock layer copies the new state into the old tensor, which autograd has saved for backward.
    """

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **_: object) -> Tensor:
        """Keep `recurrent_states` itself."""
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = True
        return recurrent_states


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """Return an empty cache for `model` that gradients can pass through."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        _AssigningLayer(number_of_states=layer.number_of_states)
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
    """Run the rows in one batch; the gradient flows into the lead and the answer of each row only."""
    device = model.device
    context, context_mask = pad([row.context for row in rows], left=True)
    decision, decision_mask = pad([(*row.lead, *row.answer[:-1]) for row in rows], left=False)
    positions = (context_mask.cumsum(1) - 1).clamp(min=0)
    later = context_mask.sum(1, keepdim=True) + torch.arange(decision.shape[1])
    cache = new_cache(model)
    inputs = {"past_key_values": cache, "use_cache": True}
    if context.shape[1]:
        with torch.no_grad():
            model.model(
                input_ids=context.to(device),
                attention_mask=context_mask.to(device),
                position_ids=positions.to(device),
                **inputs,
            )
    hidden = model.model(
        input_ids=decision.to(device),
        attention_mask=torch.cat([context_mask, decision_mask], 1).to(device),
        position_ids=later.to(device),
        **inputs,
    ).last_hidden_state
    index, at = _predicting(rows)
    labels = torch.tensor([token for row in rows for token in row.answer])
    return Hidden(hidden[index.to(device), at.to(device)], labels.to(device), index.to(device))


def _predicting(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return (row, position in the decision segment) of every state that predicts an answer token."""
    pairs = [(i, len(row.lead) - 1 + t) for i, row in enumerate(rows) for t in range(len(row.answer))]
    index, at = torch.tensor(pairs).unbind(1)
    return index, at


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
