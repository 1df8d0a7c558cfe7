"""A task vector as a file: safetensors of fp32 changes, and in its metadata of what model and whence.

The metadata key `heedloop` holds a `Description` as JSON; other programs see a plain safetensors file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from learner.vectors.blocks import Block, Shape
from learner.vectors.statistics import Summary, Tally, TensorNumbers, summary
from learner.vectors.stream import TensorReader, TensorWriter
from policies.errors import InputError
from store.clock import new_id, now_ms

FORMAT = 1
_KEY = "heedloop"


class Description(BaseModel):
    """What a vector is: `id` is new with each making, `model_hash` the base that it fits.

    `from_version` and `to_version` name its ends, `recipe` says in words how it was made.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    format: int = FORMAT
    id: str
    name: str
    model_hash: str
    from_version: str | None = None
    to_version: str | None = None
    recipe: str
    created: int
    numbers: dict[str, tuple[float, int, int]] = Field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        """Norms and sparsity, as they were counted when the file was written."""
        return summary({name: TensorNumbers(*numbers) for name, numbers in self.numbers.items()})


class VectorFile:
    """A task vector on disk; implements `Deltas`.

    Raises InputError for a file that is damaged, no task vector, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = TensorReader(path)
        text = self._reader.metadata.get(_KEY)
        if text is None:
            raise InputError(f"{path}: no task vector (its metadata has no `{_KEY}`)")
        try:
            self.description = Description.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{path}: its metadata is damaged ({error.error_count()} errors)") from error
        if self.description.format != FORMAT:
            raise InputError(f"{path}: format {self.description.format}, this program reads {FORMAT}")

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each tensor that changes."""
        return self._reader.shapes

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows of the change of one tensor, fp32."""
        return self._reader.rows(name, start, stop)

    def require_base(self, model_hash: str) -> VectorFile:
        """Return itself. Raises InputError when it is a vector of another base model."""
        if self.description.model_hash != model_hash:
            raise InputError(
                f"vector {self.description.name}: made on base {self.description.model_hash[:12]}, this is"
                f" {model_hash[:12]}; a task vector fits its own base model only"
            )
        return self


def write_vector(
    path: Path,
    shapes: dict[str, Shape],
    changes: Iterable[Block],
    *,
    model_hash: str,
    recipe: str,
    from_version: str | None = None,
    to_version: str | None = None,
) -> Description:
    """Write a vector, block by block; its name is that of the file. `changes` go in the order of `shapes`.

    Raises InputError, and leaves no file, where an entry is not finite.
    """
    tally = Tally()
    with TensorWriter(path, shapes, dict.fromkeys(shapes, torch.float32)) as writer:
        for name, start, _, rows in changes:
            require_finite(rows, name, start, recipe)
            tally.add(name, rows)
            writer.write(name, rows)
        description = Description(
            id=new_id(),
            name=path.stem,
            model_hash=model_hash,
            from_version=from_version,
            to_version=to_version,
            recipe=recipe,
            created=now_ms(),
            numbers={name: astuple(numbers) for name, numbers in tally.tensors.items()},
        )
        writer.describe({_KEY: description.model_dump_json()})
    return description


def require_finite(rows: Tensor, name: str, start: int, source: str) -> None:
    """Raises InputError, naming tensor and row, where an entry is NaN or infinite."""
    if not bool(torch.isfinite(rows).all()):
        bad = (~torch.isfinite(rows)).nonzero()[0].tolist()
        row = start + (bad[0] if bad else 0)
        raise InputError(f"{source}: {name}, row {row} is not a finite number; nothing was written")
