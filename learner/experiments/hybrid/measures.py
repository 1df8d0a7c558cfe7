"""Measures of states: how far and how uniformly they shift, what a linear probe reads, what chance would do.

States are rows of a matrix, one a question; `random_projection` makes large ones small, and keeps distances.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
_FLIPS = 2000


def random_projection(states: Tensor, width: int = 256) -> Tensor:
    """Project [n, d] to [n, width] by a fixed Gaussian matrix; narrower states stay as they are."""
    if states.shape[1] <= width:
        return states
    draw = torch.Generator().manual_seed(states.shape[1])
    return states @ torch.randn(states.shape[1], width, generator=draw) / width**0.5


def shifts(moved: Tensor, rest: Tensor) -> list[float]:
    """Return, of each question, how far its state shifts the way that the others' shift.

    The component of `moved` - `rest` [n, d] along the mean of the other rows' differences, in units of the
    spread of `rest` (root mean square distance from its mean): 0 where shifts have nothing in common.
    """
    differences = moved - rest
    others = (differences.sum(0) - differences) / (len(differences) - 1)
    along = (differences * torch.nn.functional.normalize(others, dim=1)).sum(1)
    spread = (rest - rest.mean(0)).square().sum(1).mean().sqrt()
    return [float(value) for value in along / spread]


def first_share(differences: Tensor) -> float:
    """Return the share of the squared differences [n, d] that lies along one line."""
    energies = torch.linalg.svdvals(differences.double()).square()
    return float(energies[0] / energies.sum())


def subspace_agreement(one: Tensor, two: Tensor, rank: int = 3) -> float:
    """Return the mean cosine of the principal angles between the leading subspaces of two matrices [n, d]."""
    bases = [torch.linalg.svd(m.double(), full_matrices=False).Vh[:rank] for m in (one, two)]
    return float(torch.linalg.svdvals(bases[0] @ bases[1].T).clamp(max=1).mean())


def probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> list[int]:
    """Fit ridge regression to tell two classes of states apart; return which test states it gets right.

    Each pair is (states of one class, states of the other). The penalty is the one with the smallest
    leave-one-out error, in closed form.
    """
    states, labels = torch.cat(train).double(), _labels(train)
    mean, scale = states.mean(0), states.std(0).clamp(min=1e-8)
    features = (states - mean) / scale
    kernel = features @ features.T
    penalty = min(_PENALTIES, key=lambda p: _left_out(kernel, labels, p))
    dual = torch.linalg.solve(_damped(kernel, penalty), labels)
    found = ((torch.cat(test).double() - mean) / scale) @ features.T @ dual
    return [int(ok) for ok in torch.sign(found) == _labels(test)]


def _labels(pair: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([torch.ones(len(pair[0])), -torch.ones(len(pair[1]))]).double()


def _damped(kernel: Tensor, penalty: float) -> Tensor:
    size = len(kernel)
    return kernel + penalty * kernel.diagonal().mean() * torch.eye(size, dtype=kernel.dtype)


def _left_out(kernel: Tensor, labels: Tensor, penalty: float) -> float:
    """Return the squared leave-one-out error: residual over one minus leverage, of each row."""
    inverse = torch.linalg.inv(_damped(kernel, penalty))
    return float(((inverse @ labels) / inverse.diagonal()).square().sum())


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p of a permutation test: would random signs give a mean as far from zero?"""
    draw = random.Random(seed)
    found = abs(sum(differences))
    hits = sum(
        abs(sum(d if draw.random() < 0.5 else -d for d in differences)) >= found - 1e-12
        for _ in range(_FLIPS)
    )
    return (hits + 1) / (_FLIPS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979), in the given order."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, worst = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, ps[i] * (len(ps) - rank)))
        corrected[i] = worst
    return corrected
