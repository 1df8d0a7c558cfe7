"""What an update is made of: how its norm is spread over elements, and over directions of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from learner.vectors.statistics import layer_and_kind

TOP = 0.01
"""The share of elements that is looked at."""
GAUSSIAN = 0.0845
"""Share of its squared norm that the top 1 % of a normally distributed update holds."""
_FEWEST = 1000
"""A tensor of fewer elements has no top 1 % to speak of."""


@dataclass(frozen=True)
class TensorUpdate:
    """Numbers of one tensor's update.

    `top` is the share of the squared norm in its largest 1 % of elements; `rank` the effective rank as a
    share of the full one (matrices of the layers that were asked for); `changed` the share of bf16 values
    that are others than the base's.
    """

    layer: str
    kind: str
    elements: int
    squares: float
    top: float
    rank: float | None
    changed: float


def top_share(update: Tensor, share: float = TOP) -> float:
    """Return the share of the squared norm that the largest `share` of elements holds; 0 of no update."""
    squares = update.float().square().flatten()
    total = float(squares.double().sum())
    count = max(1, round(share * squares.numel()))
    return float(squares.topk(count).values.double().sum()) / total if total else 0.0


def effective_rank(matrix: Tensor) -> float:
    """Return exp(H) of the singular values as a distribution (Roy and Vetterli 2007), 0 of no update."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    squares = torch.linalg.eigvalsh(tall.double().T @ tall.double()).clamp(min=0)
    values = squares.sqrt()
    if not float(values.sum()):
        return 0.0
    shares = values[values > 0] / values.sum()
    return float((-(shares * shares.log()).sum()).exp())


def numbers_of(
    updates: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    layers: frozenset[str],
) -> list[dict[str, Any]]:
    """Return the numbers of every tensor of at least a thousand elements; ranks only in `layers`."""
    found = []
    for name, update in updates.items():
        if update.numel() < _FEWEST:
            continue
        layer, kind = layer_and_kind(name)
        ranked = update.ndim == 2 and layer in layers
        changed = live[name].to(torch.bfloat16) != base[name].to(torch.bfloat16)
        found.append(
            TensorUpdate(
                layer=layer,
                kind=kind,
                elements=update.numel(),
                squares=float(update.double().square().sum()),
                top=top_share(update),
                rank=effective_rank(update) / min(update.shape) if ranked else None,
                changed=float(changed.float().mean()),
            )
        )
    return [asdict(numbers) for numbers in found]


def layers_of(count: int, most: int) -> frozenset[str]:
    """Return up to `most` layers, first and last among them, evenly spaced."""
    if count <= most:
        return frozenset(map(str, range(count)))
    return frozenset(str(round(i * (count - 1) / (most - 1))) for i in range(most))
