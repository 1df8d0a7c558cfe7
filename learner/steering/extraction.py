"""From contrast pairs to a vector: its direction at each layer, then the layer and strength that work best.

The direction is learned on one part of the pairs and chosen on the other: how likely the followed answers
become without the direction in the prompt, against how likely the ignored ones stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from learner.frozen import pad
from learner.live.steering import decoder_layers
from learner.steering.activations import residuals, steered
from learner.steering.pairs import PairIds

Method = Literal["mean", "pca"]
SCALES = (0.5, 1.0, 2.0)
"""Strengths that are tried, in distances between the means of followed and ignored."""
ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Directions:
    """fp32 [layers, width] each: the difference of means, and the first principal component of the pairs'
    differences with the sign and the length of that difference.
    """

    mean: Tensor
    pca: Tensor


@dataclass(frozen=True)
class Choice:
    """Where a vector is added, how strongly, and what that gains on pairs it was not made of.

    `gain` is the rise of log-probability a token of the followed answers, in nats, `margin` that of the
    followed over the ignored.
    """

    method: Method
    layer: int
    scale: float
    gain: float
    margin: float


def find_directions(model: PreTrainedModel, pairs: Sequence[PairIds]) -> Directions:
    """Contrast the residual stream over the answers' tokens, pair by pair."""
    differences = torch.stack(
        [_answer_mean(model, p.prompt, p.followed) - _answer_mean(model, p.prompt, p.ignored) for p in pairs],
        1,
    )  # [layers, pairs, width]
    mean = differences.mean(1)
    components = torch.stack([_first_component(at_layer) for at_layer in differences])
    sign = (components * mean).sum(-1, keepdim=True).sign()
    return Directions(mean, components * sign * mean.norm(dim=-1, keepdim=True))


def choose(
    model: PreTrainedModel,
    directions: Directions,
    held_out: Sequence[PairIds],
    layers: Sequence[int] | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Choice:
    """Try layers and strengths on pairs that the directions were not made of; return the best.

    Without `layers`, every second one from the first third to the last sixth is tried: steering before is
    undone by what follows, and after it there is nothing left that could react.
    """
    count = max(decoder_layers(model)) + 1
    tried = list(range(count // 3, count - count // 6, 2)) if layers is None else list(layers)
    before = _log_likelihoods(model, held_out)
    best: Choice | None = None
    for method in ("mean", "pca"):
        for layer in tried:
            for scale in SCALES:
                with steered(model, rows_of(directions, method, layer, scale, count)):
                    after = _log_likelihoods(model, held_out)
                gain, margin = after[0] - before[0], (after[0] - after[1]) - (before[0] - before[1])
                found = Choice(method, layer, scale, gain, margin)
                best = found if best is None or found.gain > best.gain else best
            tell(f"{method}, layer {layer}: best so far {best.method}, layer {best.layer}, x{best.scale:g}")
    assert best is not None, "there is at least one layer"
    return best


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


def _answer_mean(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Return the mean over the states that predict an answer's tokens, [layers, width]."""
    states = residuals(model, [*prompt, *answer])
    return states[:, len(prompt) - 1 : -1].mean(1)


def _first_component(differences: Tensor) -> Tensor:
    """First right singular vector of the differences, not centred: what all pairs share must stay in."""
    return torch.linalg.svd(differences, full_matrices=False).Vh[0]


@torch.no_grad()
def _log_likelihoods(model: PreTrainedModel, pairs: Sequence[PairIds]) -> tuple[float, float]:
    """Mean log-probability a token of the followed and of the ignored answers."""
    return _mean([(p.prompt, p.followed) for p in pairs], model), _mean(
        [(p.prompt, p.ignored) for p in pairs], model
    )


def _mean(rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], model: PreTrainedModel) -> float:
    ids, mask = pad([[*prompt, *answer] for prompt, answer in rows], left=False)
    hidden = model.model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device))
    scores = []
    for at, (prompt, answer) in zip(hidden.last_hidden_state, rows, strict=True):
        first = len(prompt) - 1
        logits = model.lm_head(at[first : first + len(answer)]).float()
        scores.append(-F.cross_entropy(logits, torch.tensor(answer, device=logits.device)))
    return torch.stack(scores).mean().item()
