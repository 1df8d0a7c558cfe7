"""Blocks: a few rows of one tensor at a time, so that no arithmetic needs a whole one more than once."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Protocol

from torch import Tensor

Shape = tuple[int, ...]
Block = tuple[str, int, int, Tensor]
"""(name of the tensor, first row, row after the last, fp32 rows)."""

ELEMENTS = 1 << 18
"""Most elements of a block: 1 MiB of fp32."""


class Deltas(Protocol):
    """Changes of named tensors, fp32, that can be read a few rows at a time. A tensor without a name is 0."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each tensor that changes, in the order of the checkpoint."""

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop` of one of them, fp32 [stop - start, ...]."""


def spans(shape: Shape, elements: int = ELEMENTS) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each block over the first dimension; a scalar counts as one row."""
    rows = shape[0] if shape else 1
    step = max(1, elements // max(1, prod(shape[1:])))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def blocks(deltas: Deltas) -> Iterator[Block]:
    """Yield (name, start, stop, rows) over all tensors."""
    for name, shape in deltas.shapes.items():
        for start, stop in spans(shape):
            yield name, start, stop, deltas.rows(name, start, stop)


def joint_shapes(parts: tuple[Deltas, ...]) -> dict[str, Shape]:
    """Return the shapes of all tensors that any of the parts changes."""
    shapes: dict[str, Shape] = {}
    for part in parts:
        shapes |= part.shapes
    return shapes
