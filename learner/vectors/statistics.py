"""What a vector is made of: norms by layer and kind of parameter, sparsity, and angles to other vectors."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

from torch import Tensor

from learner.vectors.algebra import rows_or_zero
from learner.vectors.blocks import Deltas, blocks, joint_shapes, spans

_LAYER = re.compile(r"\.layers\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class TensorNumbers:
    """Sum of squares, entries and entries that are not zero, of one tensor."""

    squares: float
    entries: int
    nonzero: int


@dataclass
class Tally:
    """Counts a vector while its blocks pass by."""

    tensors: dict[str, TensorNumbers] = field(default_factory=dict)

    def add(self, name: str, rows: Tensor) -> None:
        """Count the next rows of a tensor."""
        before = self.tensors.get(name, TensorNumbers(0.0, 0, 0))
        self.tensors[name] = TensorNumbers(
            before.squares + float(rows.double().square().sum()),
            before.entries + rows.numel(),
            before.nonzero + int(rows.count_nonzero()),
        )


@dataclass(frozen=True)
class Summary:
    """Norms (L2) of a vector, whole and in parts; `sparsity` is the share of zeros in what it may change."""

    norm: float
    sparsity: float
    entries: int
    by_layer: dict[str, float]
    by_kind: dict[str, float]


def summary(tensors: dict[str, TensorNumbers]) -> Summary:
    """Sum up the numbers of all tensors. What is in no layer stands under `outside`."""
    entries = sum(numbers.entries for numbers in tensors.values())
    zeros = entries - sum(numbers.nonzero for numbers in tensors.values())
    layers: dict[str, float] = defaultdict(float)
    kinds: dict[str, float] = defaultdict(float)
    for name, numbers in tensors.items():
        layer, kind = layer_and_kind(name)
        layers[layer] += numbers.squares
        kinds[kind] += numbers.squares
    return Summary(
        norm=math.sqrt(sum(layers.values())),
        sparsity=zeros / entries if entries else 1.0,
        entries=entries,
        by_layer={key: math.sqrt(value) for key, value in sorted(layers.items(), key=_layer_order)},
        by_kind={key: math.sqrt(value) for key, value in sorted(kinds.items())},
    )


def layer_and_kind(name: str) -> tuple[str, str]:
    """Split a parameter's name into its layer's number (or `outside`) and the rest, without `weight`."""
    found = _LAYER.search(name)
    layer, kind = (found[1], found[2]) if found else ("outside", name)
    return layer, kind.removesuffix(".weight")


def cosine(one: Deltas, other: Deltas) -> float:
    """Return the cosine of the angle between two vectors, 0 where one of them is nothing."""
    products = squares_one = squares_other = 0.0
    for name, shape in joint_shapes((one, other)).items():
        for start, stop in spans(shape):
            a = rows_or_zero(one, name, start, stop, shape).double().flatten()
            b = rows_or_zero(other, name, start, stop, shape).double().flatten()
            products += float(a @ b)
            squares_one += float(a @ a)
            squares_other += float(b @ b)
    length = math.sqrt(squares_one * squares_other)
    return products / length if length else 0.0


def tally_of(deltas: Deltas) -> Tally:
    """Read a vector once and count it."""
    tally = Tally()
    for name, _, _, rows in blocks(deltas):
        tally.add(name, rows)
    return tally


def _layer_order(item: tuple[str, float]) -> tuple[int, str]:
    return (int(item[0]), "") if item[0].isdigit() else (1 << 30, item[0])
