"""Factors of low rank against numpy's own decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learner.exporting.low_rank import OVERSAMPLED, factorise, rank_for, spectrum


def decaying(rows: int, columns: int) -> torch.Tensor:
    """A matrix whose singular values fall by a tenth each."""
    drawn = torch.Generator().manual_seed(0)
    side = min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, side, generator=drawn))[0]
    right = torch.linalg.qr(torch.randn(columns, side, generator=drawn))[0]
    return left * 0.9 ** torch.arange(side) @ right.T


@pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(24, 40, 6), (40, 24, 24), (300, 260, 4)], ids=["exact", "full", "random"]
)
def test_no_matrix_of_that_rank_is_nearer(rows: int, columns: int, rank: int) -> None:
    change = decaying(rows, columns)
    assert (8 * (rank + OVERSAMPLED) < min(rows, columns)) == (rows == 300)  # which way it goes
    found = factorise(change, rank)
    squares = np.linalg.svd(change.double().numpy(), compute_uv=False) ** 2
    assert found.a.shape == (rank, columns)
    assert found.b.shape == (rows, rank)
    assert found.energy == pytest.approx(squares.sum(), rel=1e-5)
    assert found.lost == pytest.approx(squares[rank:].sum(), rel=1e-3, abs=1e-9)
    left = change.double().numpy() - found.b.double().numpy() @ found.a.double().numpy()
    assert (left**2).sum() == pytest.approx(squares[rank:].sum(), rel=1e-3, abs=1e-9)
    assert found.a.norm().item() == pytest.approx(found.b.norm().item(), rel=1e-3)


def test_a_rank_above_the_shorter_side_is_that_side() -> None:
    change = decaying(5, 9)
    found = factorise(change, 64)
    assert found.rank == 5
    torch.testing.assert_close(found.b @ found.a, change, rtol=1e-4, atol=1e-6)


def test_the_least_rank_for_a_share_counts_all_matrices() -> None:
    steep, flat = torch.diag(torch.tensor([3.0, 1.0, 0.0])), torch.eye(3)[:, :2]
    spectra = [spectrum(steep), spectrum(flat)]
    assert [pytest.approx(values.tolist()) for values in spectra] == [[9, 1, 0], [1, 1]]
    assert rank_for(spectra, 10 / 12) == 1
    assert rank_for(spectra, 0.84) == 2
    assert rank_for(spectra, 1) == 2
