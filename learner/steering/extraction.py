"""From contrast pairs to directions: what the residual stream has more of where an answer follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.frozen import decisions
from learner.steering.activations import watched
from learner.steering.pairs import PairIds
from learner.tokens import Row

Method = Literal["mean", "pca"]
ANSWER_TOKENS = 32


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

    `answers` are ids of (prompt, answer), neither empty. What prompts begin with alike is read once.
    """
    rows = [_row(prompt, answer) for prompt, answer in answers]
    found: dict[int, Tensor] = {}
    with watched(model) as stream:
        for indices, _ in decisions(model, rows):
            parts = stream().split([len(rows[i].answer) for i in indices], 1)
            found.update((i, part.mean(1)) for i, part in zip(indices, parts, strict=True))
    return torch.stack([found[i] for i in range(len(rows))], 1)


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
