"""TIES merging: trim, elect a sign, mean over those who agree (Yadav et al. 2023, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.vectors.algebra import rows_or_zero
from learner.vectors.blocks import Deltas, joint_shapes
from learner.vectors.threshold import magnitude_at


@dataclass(frozen=True)
class Conflicts:
    """How many entries survive trimming in some vector, and in how many of them two have opposite signs."""

    entries: int
    conflicting: int

    @property
    def share(self) -> float:
        """Conflicting entries of those that survive."""
        return self.conflicting / self.entries if self.entries else 0.0


class Ties:
    """The merged vector. Of each vector the largest `keep` of all its entries stay (0.2 in the paper).

    Where the signs of what is left add up to nothing, the merged entry is 0.
    """

    def __init__(self, vectors: Sequence[Deltas], keep: float = 0.2) -> None:
        self._vectors = tuple(vectors)
        self.shapes = joint_shapes(self._vectors)
        self._least = [max(magnitude_at(deltas, keep), _SMALLEST) for deltas in vectors]
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Merge rows of one tensor."""
        shape = self.shapes[name]
        trimmed = torch.stack(
            [self._trimmed(i, rows_or_zero(d, name, start, stop, shape)) for i, d in enumerate(self._vectors)]
        )
        elected = trimmed.sum(0).sign()
        agrees = (trimmed.sign() == elected) & (elected != 0)
        up, down = (trimmed > 0).any(0), (trimmed < 0).any(0)
        self._counts[name, start] = (int((up | down).sum()), int((up & down).sum()))
        return (trimmed * agrees).sum(0) / agrees.sum(0).clamp(min=1)

    def conflicts(self) -> Conflicts:
        """Return what was met in the blocks read so far."""
        found = self._counts.values()
        return Conflicts(sum(entries for entries, _ in found), sum(both for _, both in found))

    def _trimmed(self, which: int, rows: Tensor) -> Tensor:
        return rows * (rows.abs() >= self._least[which])


_SMALLEST = torch.finfo(torch.float32).smallest_normal
"""A vector with more zeros than it may keep: zeros are no entries."""
