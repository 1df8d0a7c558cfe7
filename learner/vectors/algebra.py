"""Sums, multiples and means of task vectors (Ilharco et al. 2022, section 2), read block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.vectors.blocks import Deltas, Shape, joint_shapes


def rows_or_zero(deltas: Deltas, name: str, start: int, stop: int, shape: Shape) -> Tensor:
    """Return rows of a tensor, zeros where the vector does not change it."""
    if name in deltas.shapes:
        return deltas.rows(name, start, stop)
    return torch.zeros((stop - start, *shape[1:]) if shape else ())


@dataclass(frozen=True)
class Combination:
    """The sum of vectors, each times its factor: `terms` are (factor, vector)."""

    terms: tuple[tuple[float, Deltas], ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of all tensors that any term changes."""
        return joint_shapes(tuple(deltas for _, deltas in self.terms))

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Add the terms in their order, in fp32."""
        whole: Tensor | None = None
        for factor, deltas in self.terms:
            if name in deltas.shapes:
                part = deltas.rows(name, start, stop).mul_(factor)
                whole = part if whole is None else whole.add_(part)
        assert whole is not None, f"{name} is in no term"
        return whole


def scaled(deltas: Deltas, factor: float) -> Combination:
    """Return a vector times a factor; -1 negates it."""
    return Combination(((factor, deltas),))


def average(vectors: Sequence[Deltas]) -> Combination:
    """Return the mean of vectors; one that does not change a tensor counts as zero there."""
    return Combination(tuple((1 / len(vectors), deltas) for deltas in vectors))
