"""The base checkpoint on disk, read a few rows at a time under the names of the text model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from learner.live.names import text_name
from learner.vectors.blocks import Block, Shape, spans
from learner.vectors.stream import TensorReader
from policies.errors import InputError


class Checkpoint:
    """A folder of safetensors files; implements `Deltas`, as if all weights were a change from nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[TensorReader, str]] = {}
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise InputError(f"{folder}: no checkpoint (no *.safetensors in it)")
        for path in files:
            reader = TensorReader(path)
            self._places |= {text_name(name): (reader, name) for name in reader.shapes}
        self.shapes: dict[str, Shape] = {name: r.shapes[own] for name, (r, own) in self._places.items()}

    def own_name(self, name: str) -> str:
        """Return the name that the files give a parameter of the text model."""
        return self._places[name][1]

    def dtype(self, name: str) -> torch.dtype:
        """Return the type of a parameter in the files."""
        return self.raw(name, 0, 0).dtype if self.shapes[name] else self.raw(name, 0, 1).dtype

    def raw(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows of a parameter in the type of the files."""
        reader, own = self._places[name]
        return reader.raw(own, start, stop)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows of a parameter as fp32."""
        return self.raw(name, start, stop).float()


def difference(before: Iterator[tuple[str, Tensor]], after: Iterator[tuple[str, Tensor]]) -> Iterator[Block]:
    """Yield `after` - `before` in blocks: two states of the weights, read side by side, in the same order."""
    for (name, old), (same, new) in zip(before, after, strict=True):
        assert name == same, f"{name} beside {same}"
        for start, stop in spans(tuple(new.shape)):
            if new.ndim:
                yield name, start, stop, new[start:stop].float().sub_(old[start:stop].float())
            else:
                yield name, start, stop, new.float() - old.float()


def differing(of: Checkpoint, base: Checkpoint) -> dict[str, Shape]:
    """Return the shapes of the tensors in which a checkpoint differs from the base.

    Raises InputError where the two are not the same architecture.
    """
    for name, shape in base.shapes.items():
        if of.shapes.get(name) != shape:
            raise InputError(
                f"{of.folder}: {name} is {of.shapes.get(name, 'missing')}, the base has {shape}: not a"
                " checkpoint of this base model"
            )
    return {name: shape for name, shape in base.shapes.items() if _differs(of, base, name, shape)}


def _differs(of: Checkpoint, base: Checkpoint, name: str, shape: Shape) -> bool:
    return any(not torch.equal(of.rows(name, *span), base.rows(name, *span)) for span in spans(shape))


def checkpoint_blocks(of: Checkpoint, base: Checkpoint, shapes: dict[str, Shape]) -> Iterator[Block]:
    """Yield the difference of two checkpoints in the named tensors."""
    for name, shape in shapes.items():
        for start, stop in spans(shape):
            yield name, start, stop, of.rows(name, start, stop).sub_(base.rows(name, start, stop))
