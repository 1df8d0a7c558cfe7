"""safetensors files, a few rows at a time: read without mapping the file, written without holding a tensor.

The library's own `save_file` needs all tensors at once, and its mapped reading counts as this process's
memory. The format is 8 bytes of length, that much JSON (padded with spaces), and the bytes of the tensors.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from learner.vectors.blocks import Shape
from policies.errors import InputError

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ROOM = 4096
_ROOM_PER_TENSOR = 200


@dataclass(frozen=True)
class _Place:
    dtype: torch.dtype
    shape: Shape
    offset: int

    @property
    def row_bytes(self) -> int:
        return prod(self.shape[1:]) * self.dtype.itemsize


class TensorReader:
    """A safetensors file of floats. Raises InputError, naming the file, for one that cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "pt"):
                pass  # the library looks at lengths and offsets
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read as safetensors ({error})") from error
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        self._places = {
            name: _Place(
                self._dtype(name, entry), tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
            )
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0])
        }
        self.shapes = {name: place.shape for name, place in self._places.items()}

    def _dtype(self, name: str, entry: dict[str, str]) -> torch.dtype:
        if entry["dtype"] not in _DTYPES:
            raise InputError(f"{self.path}: {name} is {entry['dtype']}; weights are F32, BF16 or F16")
        return _DTYPES[entry["dtype"]]

    def raw(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows of one tensor in the type of the file."""
        place = self._places[name]
        width = prod(place.shape[1:])
        bits = np.fromfile(
            self.path,
            dtype=np.uint32 if place.dtype.itemsize == 4 else np.uint16,
            count=(stop - start) * width,
            offset=place.offset + start * place.row_bytes,
        )
        whole = torch.from_numpy(bits).view(place.dtype)
        return whole.view((stop - start, *place.shape[1:]) if place.shape else ())

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows of one tensor as fp32."""
        return self.raw(name, start, stop).float()


class TensorWriter:
    """Writes a safetensors file in place of `path` when the block ends without an error.

    Tensors come in the order of `shapes`, in blocks of rows; the metadata comes last.
    """

    def __init__(self, path: Path, shapes: dict[str, Shape], dtypes: dict[str, torch.dtype]) -> None:
        self._path, self._partial = path, path.with_name(f"{path.name}.partial")
        self._header: dict[str, object] = {}
        end = 0
        for name, shape in shapes.items():
            start, end = end, end + prod(shape) * dtypes[name].itemsize
            self._header[name] = {
                "dtype": _NAMES[dtypes[name]],
                "shape": list(shape),
                "data_offsets": [start, end],
            }
        self._dtypes = dtypes
        self._bytes = end
        self._room = len(json.dumps(self._header)) + _ROOM + _ROOM_PER_TENSOR * len(shapes)
        self._room += -self._room % 8
        self._metadata: dict[str, str] = {"format": "pt"}

    def __enter__(self) -> TensorWriter:
        descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._file.seek(8 + self._room)
        return self

    def write(self, name: str, rows: Tensor) -> None:
        """Write the next rows of a tensor, rounded to nearest in the type of the file."""
        bits = rows.detach().to("cpu", self._dtypes[name]).contiguous().view(torch.uint8)
        self._file.write(bits.numpy().data)

    def describe(self, metadata: dict[str, str]) -> None:
        """Set the metadata of the file."""
        self._metadata |= metadata

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        written = self._file.tell() - 8 - self._room
        assert written == self._bytes, f"{self._path}: {written} bytes of {self._bytes} were written"
        text = json.dumps({"__metadata__": self._metadata} | self._header).encode()
        assert len(text) <= self._room, f"{self._path}: metadata of {len(text)} bytes"
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + text.ljust(self._room))
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._partial, self._path)
