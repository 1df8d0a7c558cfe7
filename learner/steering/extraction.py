"""From contrast pairs to directions: what the residual stream has more of where an answer follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.frozen import branch_states
from learner.steering.activations import watched
from learner.steering.pairs import PairIds
from learner.tokens import Row

Method = Literal["mean", "pca"]
ANSWER_TOKENS = 32
AT_ONCE = 2048
"""Tokens of prompts and answers that are read together: their states in all layers are held."""


@dataclass(frozen=True)
class Directions:
    """fp32 [layers, width] each: the difference of means, and the first principal component of the pairs'
    differences with the sign and the length of that difference.
    """

    mean: Tensor
    pca: Tensor


@dataclass(frozen=True)
class AnswerStates:
    """Means over the states that predict an answer's tokens: fp32 [layers, pairs, width] each."""

    followed: Tensor
    ignored: Tensor


def answer_states(model: PreTrainedModel, pairs: Sequence[PairIds]) -> AnswerStates:
    """Read both answers of each pair."""
    both = [(pair.prompt, answer) for pair in pairs for answer in (pair.followed, pair.ignored)]
    means = answer_means(model, both)
    return AnswerStates(means[:, 0::2], means[:, 1::2])


@torch.no_grad()
def answer_means(model: PreTrainedModel, answers: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Return the mean over the states that predict each answer's tokens, fp32 [layers, answers, width].

    `answers` are ids of (prompt, answer), neither empty. What prompts that are read together begin with alike
    is read once.
    """
    rows = [_row(prompt, answer) for prompt, answer in answers]
    found: list[Tensor] = []
    with watched(model) as stream:
        for together in _together(rows):
            means: dict[int, Tensor] = {}
            for indices, _ in branch_states(model, together):
                parts = stream().split([len(together[i].answer) for i in indices], 1)
                means.update((i, part.mean(1)) for i, part in zip(indices, parts, strict=True))
            found += [means[i] for i in range(len(together))]
    return torch.stack(found, 1)


def _together(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows in their order, as many at once as have at most AT_ONCE tokens; one at least."""
    together: list[Row] = []
    for row in rows:
        if together and sum(_tokens(one) for one in (*together, row)) > AT_ONCE:
            yield together
            together = []
        together.append(row)
    yield together


def _tokens(row: Row) -> int:
    return len(row.context) + len(row.lead) + len(row.answer)


def _row(prompt: Sequence[int], answer: Sequence[int]) -> Row:
    """A row whose states are those that predict the answer: its lead is the prompt's last token."""
    return Row(
        example_id="",
        kind="general",
        context=tuple(prompt[:-1]),
        lead=tuple(prompt[-1:]),
        answer=tuple(answer),
        deviates=(),
    )


def find_directions(model: PreTrainedModel, pairs: Sequence[PairIds]) -> Directions:
    """Contrast the residual stream over the answers' tokens, pair by pair."""
    return directions_of(answer_states(model, pairs))


def directions_of(states: AnswerStates) -> Directions:
    """Return the directions from what was ignored to what was followed."""
    differences = states.followed - states.ignored
    mean = differences.mean(1)
    components = torch.stack([_first_component(at_layer) for at_layer in differences])
    sign = (components * mean).sum(-1, keepdim=True).sign()
    return Directions(mean, components * sign * mean.norm(dim=-1, keepdim=True))


def rows_of(directions: Directions, method: str, layer: int, scale: float, layers: int) -> Tensor:
    """Return what is added to each layer: `scale` times the direction at one of them."""
    own = directions.mean if method == "mean" else directions.pca
    rows = torch.zeros(layers, own.shape[-1])
    rows[layer] = own[layer] * scale
    return rows


def random_rows(rows: Tensor, seed: int) -> Tensor:
    """Return a random vector of the same norm at the same layers: the control."""
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
    return noise / noise.norm(dim=-1, keepdim=True) * rows.norm(dim=-1, keepdim=True)


def _first_component(differences: Tensor) -> Tensor:
    """First right singular vector of the differences, not centred: what all pairs share must stay in."""
    return torch.linalg.svd(differences, full_matrices=False).Vh[0]
