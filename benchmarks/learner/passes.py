"""Passes over contexts and decisions: frozen, full, checkpointed; for a conversation or for each decision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.learner.cells import extra_mib, side_by_side
from learner.base_model import resolve_model
from learner.frozen import frozen_hidden
from learner.model import load_model, trainable
from learner.tokens import Row, build_row, decisions_of

DECISION = 64
"""Labelled tokens of a decision."""
REPEATS = {512: 5, 2048: 3, 8192: 1}
CONVERSATION, DECISIONS = 4096, 10


def ready(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a model with gradients on, on one thread."""
    torch.set_num_threads(1)
    model, tokenizer = load_model(resolve_model(name, lambda what, share: None))
    for parameter in trainable(model).values():
        parameter.requires_grad_(True)
    return model, tokenizer


def row_of(model: PreTrainedModel, context: int) -> Row:
    """Return a row of random tokens."""
    most, generator = min(40_000, model.config.get_text_config().vocab_size), torch.Generator().manual_seed(0)
    drawn = torch.randint(5, most, (context + DECISION,), generator=generator).tolist()
    header = (1, 5, 6, 7)
    return Row(
        "row", "general", tuple(drawn[: context - 4]), header, tuple(drawn[-DECISION:]), (False,) * DECISION
    )


def frozen(model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    """Return the loss of a context-frozen pass."""
    hidden = frozen_hidden(model, rows)
    return F.cross_entropy(model.lm_head(hidden.states).float(), hidden.labels)


def full(model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    """Return the loss of a pass with gradient everywhere; lm_head sees the labelled positions only."""
    (row,) = rows
    ids = torch.tensor([[*row.context, *row.lead, *row.answer[:-1]]])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[0, -len(row.answer) :]
    return F.cross_entropy(model.lm_head(hidden).float(), torch.tensor(row.answer))


def checkpointed(model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    """Return the loss of `full` with gradient checkpointing: layers are computed again in backward."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        return full(model, rows)
    finally:
        model.gradient_checkpointing_disable()


WAYS = {"frozen": frozen, "full": full, "checkpointed": checkpointed}


def _learn(name: str, model: PreTrainedModel, row: Row) -> float:
    """Go forward and backward; return the loss."""
    model.train(name == "checkpointed")  # checkpoints are ignored otherwise; the model has no dropout
    loss = WAYS[name](model, [row])
    loss.backward()
    model.eval()
    return loss.item()


def speed(name: str, context: int) -> dict[str, Any]:
    """Return the seconds of all ways at a context length, and their losses."""
    model, _ = ready(name)
    losses: dict[str, float] = {}

    def run(way: str) -> None:
        losses[way] = _learn(way, model, row_of(model, context))
        model.zero_grad(set_to_none=True)

    seconds = side_by_side({way: partial(run, way) for way in WAYS}, REPEATS[context])
    return {"seconds": seconds, "losses": losses, "n": REPEATS[context]}


def memory(name: str, way: str, context: int) -> dict[str, Any]:
    """Return the memory that one way takes beside weights and gradients, which are there before."""
    model, _ = ready(name)
    _learn(way, model, row_of(model, 16))
    return {"mib": extra_mib(lambda: _learn(way, model, row_of(model, context))), "n": 1}


def conversation(tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """Return the decisions of a conversation: `DECISIONS` answers spread over `CONVERSATION` tokens."""
    words = ["the", "lake", "wind", "stone", "river", "small", "green", "house", "old", "road"]
    messages: list[Any] = [{"role": "system", "content": "You are a helpful assistant."}]
    for i in range(DECISIONS):
        asked = " ".join(words[(i + j * j) % 10] for j in range(CONVERSATION // DECISIONS - DECISION - 26))
        told = " ".join(words[(i + j) % 10] for j in range(DECISION + 6))
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
    found = decisions_of(tokenizer, messages, 2 * CONVERSATION)
    return [build_row(str(i), "general", p, ids, None, DECISION) for i, (p, ids) in enumerate(found)]


def one_pass(name: str) -> dict[str, Any]:
    """Compare one pass over a conversation with one for each of its decisions."""
    model, tokenizer = ready(name)
    rows = conversation(tokenizer)

    def together() -> None:
        frozen(model, rows).backward()
        model.zero_grad(set_to_none=True)

    def each() -> None:
        for row in rows:
            (frozen(model, [row]) / len(rows)).backward()
        model.zero_grad(set_to_none=True)

    seconds = side_by_side({"one_pass": together, "one_per_decision": each}, 1)
    return {
        "seconds": seconds,
        "tokens": len(rows[-1].context),
        "decisions": len(rows),
        "labelled": sum(len(row.answer) for row in rows),
        "n": 1,
    }
