"""The nearest matrix of a low rank: truncated singular value decomposition (Eckart & Young 1936).

Where the rank is small beside the matrix it is found by random projection with power iterations (Halko,
Martinsson & Tropp 2011, algorithm 4.4), many times faster; what is lost is measured on the factors
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

OVERSAMPLED, ITERATIONS = 16, 4
_RANDOM_BELOW = 8
"""Random projection is taken where rank + OVERSAMPLED, so many times, is less than the shorter side."""


@dataclass(frozen=True)
class Factors:
    """`b` [out, r] @ `a` [r, in], near a change of the sum of squares `energy`; `lost`: of the rest."""

    a: Tensor
    b: Tensor
    energy: float
    lost: float

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return self.a.shape[0]


def factorise(change: Tensor, rank: int, seed: int = 0) -> Factors:
    """Return the factors of rank `rank`, or of the shorter side if that is less; fp32, of equal norms.

    Randomly projected ones are a function of the matrix and `seed`.
    """
    whole = change.float()
    rank = min(rank, *whole.shape)
    left, values, right = _decomposed(whole, rank, seed)
    root = values[:rank].sqrt()
    b, a = left[:, :rank] * root, root[:, None] * right[:rank]
    lost = (whole - b @ a).double().square().sum().item()
    return Factors(a.contiguous(), b.contiguous(), whole.double().square().sum().item(), lost)


def spectrum(change: Tensor) -> Tensor:
    """Return the squared singular values of a matrix, largest first, fp64: its energy in parts."""
    whole = change.double()
    whole = whole if whole.shape[0] <= whole.shape[1] else whole.T
    return torch.linalg.eigvalsh(whole @ whole.T).flip(0).clamp(min=0)


def rank_for(spectra: Sequence[Tensor], share: float) -> int:
    """Return the least rank that, taken of every matrix, keeps `share` of the energy of all of them."""
    longest = max(len(values) for values in spectra)
    kept = torch.zeros(longest, dtype=torch.float64)
    for values in spectra:
        kept[: len(values)] += values
    reached = kept.cumsum(0) >= share * kept.sum() * (1 - 1e-12)
    return int(reached.nonzero()[0]) + 1


def _decomposed(whole: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S, V^T, at least `rank` of each."""
    if _RANDOM_BELOW * (rank + OVERSAMPLED) >= min(whole.shape):
        left, values, right = torch.linalg.svd(whole, full_matrices=False)
        return left, values, right
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, values, across = torch.svd_lowrank(whole, rank + OVERSAMPLED, niter=ITERATIONS)
    return left, values, across.T
