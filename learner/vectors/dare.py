"""DARE: drop most entries of a vector by chance, and scale up the rest (Yu et al. 2023, section 3)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.vectors.blocks import Deltas, Shape


@dataclass(frozen=True)
class Dropped:
    """A vector without the share `drop` of its entries, the others divided by 1 - `drop`: the same mean.

    Which ones is a function of `seed`, the name of the tensor and the place of the block.
    """

    deltas: Deltas
    drop: float
    seed: str

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the tensors that the vector changes."""
        return self.deltas.shapes

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows with the dropped entries as zeros."""
        rows = self.deltas.rows(name, start, stop)
        key = hashlib.blake2b(f"{self.seed}/{name}/{start}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)
        kept = torch.rand(rows.shape, generator=generator) >= self.drop
        return rows.mul_(kept).div_(1 - self.drop)
