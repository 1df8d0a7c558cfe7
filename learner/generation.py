"""Greedy answers of a model in the learner, many at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from learner.frozen import new_cache, pad

_WORTH = 16
"""A shorter common beginning is not worth a pass of its own."""


@dataclass(frozen=True)
class Answer:
    """Generated ids, with the stop token as the last one if `ended`.

    Where they were asked for, `log_probs` [T, V] fp16 are the model's log-probabilities at every id, and
    `states` [T, H] what its lm_head made them of.
    """

    ids: tuple[int, ...]
    ended: bool
    log_probs: Tensor | None = None
    states: Tensor | None = None


@torch.no_grad()
def greedy(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new: int,
    stop: Collection[int],
    batch_size: int = 32,
    with_log_probs: bool = False,
    with_states: bool = False,
    sharing: bool = True,
) -> list[Answer]:
    """Answer every prompt (ids, not empty) with at most `max_new` ids; the order is that of the prompts.

    Prompts of like length share a batch, left-padded; a finished row leaves it. What all prompts of a batch
    begin with is computed once; not by a model with recurrent layers, which no padding may follow, nor
    without `sharing`, for a model that treats the rows of a batch unlike one another.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids = [prompts[i] for i in batch]
        found = _batch(model, ids, max_new, frozenset(stop), with_log_probs, with_states, sharing)
        answers.update(zip(batch, found, strict=True))
    return [answers[i] for i in range(len(prompts))]


def _batch(
    model: PreTrainedModel,
    prompts: list[Sequence[int]],
    max_new: int,
    stop: frozenset[int],
    with_log_probs: bool,
    with_states: bool,
    sharing: bool,
) -> list[Answer]:
    cache = new_cache(model)
    shared = _read_shared(model, prompts, cache) if sharing else 0
    ids, mask = (t.to(model.device) for t in pad([prompt[shared:] for prompt in prompts], left=True))
    mask = F.pad(mask, (shared, 0), value=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
    written: list[list[int]] = [[] for _ in prompts]
    scores: list[list[Tensor]] = [[] for _ in prompts]
    states: list[list[Tensor]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    for _ in range(max_new):
        hidden = _next_states(model, ids, mask, positions, cache)
        logits = model.lm_head(hidden).float()
        chosen = logits.argmax(-1)
        for row, token in zip(alive, chosen.tolist(), strict=True):
            written[row].append(token)
        if with_log_probs:
            _append(scores, alive, F.log_softmax(logits, -1).half())
        if with_states:
            _append(states, alive, hidden)
        going = [r for r, row in enumerate(alive) if written[row][-1] not in stop]
        if not going:
            break
        if len(going) < len(alive):
            index = torch.tensor(going, device=model.device)
            cache.batch_select_indices(index)
            chosen, mask, positions = chosen[index], mask[index], positions[index]
            alive = [alive[r] for r in going]
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = F.pad(mask, (0, 1), value=1)
    return [
        Answer(
            tuple(tokens),
            tokens[-1] in stop,
            torch.stack(score) if score else None,
            torch.stack(state) if state else None,
        )
        for tokens, score, state in zip(written, scores, states, strict=True)
    ]


def _append(kept: list[list[Tensor]], alive: Sequence[int], values: Tensor) -> None:
    for row, value in zip(alive, values, strict=True):
        kept[row].append(value)


def _read_shared(model: PreTrainedModel, prompts: list[Sequence[int]], cache: DynamicCache) -> int:
    """Put what all prompts begin with into `cache`, for each of them. Returns how many ids that is."""
    same = takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=False))
    shared = [ids[0] for ids in same][: min(map(len, prompts)) - 1]  # one id is left to go on from
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)
    if len(prompts) == 1 or len(shared) < _WORTH or not plain:
        return 0
    ids = torch.tensor([shared], device=model.device)
    model.model(input_ids=ids, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(prompts))
    return len(shared)


def _next_states(
    model: PreTrainedModel, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache
) -> Tensor:
    """Return what lm_head gets after the last token of every row, [rows, H].

    A matrix: on a slice of the sequence lm_head would copy its weight once a row.
    """
    hidden = model.model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return hidden[:, -1]
