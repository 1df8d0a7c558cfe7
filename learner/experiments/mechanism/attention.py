"""How much attention an answer pays to its direction, by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments import material
from learner.experiments.material import Item
from learner.tokens import answer_ids
from policies.errors import InputError

_ANSWER = 16
"""Tokens of the answer that attend, the first included."""


@dataclass(frozen=True)
class Read:
    """A prompt with a fixed answer: ids, where each part stands, and which positions write the answer."""

    ids: tuple[int, ...]
    parts: dict[str, tuple[int, ...]]
    writing: tuple[int, ...]


def read_of(tokenizer: PreTrainedTokenizerBase, item: Item, told: str, answer: str) -> Read:
    """Render a directed prompt with the answer that should stand there.

    Raises InputError where the chat template does not leave direction or question as they were.
    """
    text = str(tokenizer.apply_chat_template(list(item.messages), tokenize=False, add_generation_prompt=True))
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    prompt, offsets = list(found["input_ids"]), found["offset_mapping"]
    direction = _within(offsets, text, told)
    question = tuple(i for i in _within(offsets, text, item.question) if i not in direction)
    rest = tuple(i for i in range(len(prompt)) if i not in {*direction, *question})
    written = answer_ids(tokenizer, answer)[:_ANSWER]
    ids = (*prompt, *written[:-1])
    own = tuple(range(len(prompt), len(ids)))
    parts = {"direction": direction, "question": question, "rest": rest, "answer": own}
    return Read(ids, parts, tuple(range(len(prompt) - 1, len(ids))))


def _within(offsets: Sequence[tuple[int, int]], text: str, part: str) -> tuple[int, ...]:
    start = text.rfind(part)
    if start < 0:
        raise InputError(f"the chat template changes {part[:40]!r}: its tokens cannot be told from others")
    stop = start + len(part)
    return tuple(i for i, (a, b) in enumerate(offsets) if a < stop and b > start)


def reads_of(tokenizer: PreTrainedTokenizerBase, items: Sequence[Item], answers: Sequence[str]) -> list[Read]:
    """Render directed items, wording 0, each with the correction of the base's own plain answer."""
    reads = []
    for item, answer in zip(items, answers, strict=True):
        assert item.direction is not None, "only directed items have a direction to attend to"
        told = item.direction.unseen[0].format(x=item.argument)
        reads.append(read_of(tokenizer, item, told, item.direction.correct(answer, item.argument)))
    return reads


@torch.no_grad()
def mass(model: PreTrainedModel, reads: Sequence[Read]) -> list[dict[str, list[float]]]:
    """Return, for each read and part, the share of attention it gets in each softmax layer.

    It is the mean over heads and over the positions that write the answer; the parts add up to 1.
    """
    with _eager(model):
        return [_mass(_weights(model, read), read) for read in reads]


def _weights(model: PreTrainedModel, read: Read) -> list[Tensor]:
    ids = torch.tensor([read.ids], device=model.device)
    found = model.model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    return [weights for weights in found if weights is not None]


def _mass(layers: Sequence[Tensor], read: Read) -> dict[str, list[float]]:
    means = [weights[0][:, list(read.writing)].float().mean((0, 1)) for weights in layers]
    return {part: [float(mean[list(places)].sum()) for mean in means] for part, places in read.parts.items()}


@contextmanager
def _eager(model: PreTrainedModel) -> Iterator[None]:
    """Let the model compute attention in the way that shows its weights."""
    kept = str(model.config._attn_implementation)
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(kept)


def items_of(direction: material.Direction, count: int) -> list[Item]:
    """Return held-out prompts under the first unseen wording of a direction."""
    items: list[Item] = material.directed(direction, 0, material.HELD_OUT[:count])
    return items
