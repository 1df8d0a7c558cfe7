"""TIES merging: trim, elect a sign, mean over those who agree (Yadav et al. 2023, algorithm 1), times lambda.

The paper tunes lambda on a validation split, and takes 1 where there is none. But trimming takes a part of
each vector away, and where vectors meet, the mean of those who agree is shorter than their sum. Without a
split we take the lambda with which the merge, projected on the plain sum, is as long as that; never less than
1, for a sum that cancels itself out is no measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.vectors.algebra import Combination, rows_or_zero
from learner.vectors.blocks import Deltas, blocks, joint_shapes
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

    Where the signs of what is left add up to nothing, the merged entry is 0. `scale` is lambda; None: as
    strong as the plain sum.
    """

    def __init__(self, vectors: Sequence[Deltas], keep: float = 0.2, scale: float | None = None) -> None:
        self._vectors = tuple(vectors)
        self.shapes = joint_shapes(self._vectors)
        self._least = [max(magnitude_at(deltas, keep), _SMALLEST) for deltas in vectors]
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}
        self.scale = 1.0
        self.scale = self._matching_the_sum() if scale is None else scale

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
        return (trimmed * agrees).sum(0) / agrees.sum(0).clamp(min=1) * self.scale

    def conflicts(self) -> Conflicts:
        """Return what was met in the blocks read so far."""
        found = self._counts.values()
        return Conflicts(sum(entries for entries, _ in found), sum(both for _, both in found))

    def _matching_the_sum(self) -> float:
        """Return |S|^2 / <M, S> of the plain sum S and the merge M, at least 1."""
        plain, whole, along = Combination(tuple((1.0, deltas) for deltas in self._vectors)), 0.0, 0.0
        for name, start, stop, merged in blocks(self):
            rows = plain.rows(name, start, stop).double()
            whole += float(rows.square().sum())
            along += float((merged.double() * rows).sum())
        return max(1.0, whole / along) if along > 0 else 1.0

    def _trimmed(self, which: int, rows: Tensor) -> Tensor:
        return rows * (rows.abs() >= self._least[which])


_SMALLEST = torch.finfo(torch.float32).smallest_normal
"""A vector with more zeros than it may keep: zeros are no entries."""
