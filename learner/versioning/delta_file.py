"""The file of a version: a zip archive with one delta to the base model for each tensor that differs from it.

Members are stored as they are (they are compressed already) under the tensors' names; the last one,
`version.json`, says what each is. The directory stands at the end, so a file that was cut off is none, and
each member has its own CRC beside the SHA-256 of the whole that the store has. It is written and read tensor
by tensor: neither side ever holds more than one.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from learner.versioning.delta import decode, encode, same_bits
from learner.versioning.files import Damaged, publish, sha256_of
from policies.errors import GuardRefused

FORMAT = 1
SUFFIX = ".version"
_MANIFEST = "version.json"
_ENTRY = "tensor/"


@dataclass(frozen=True)
class Stored:
    """What a written version takes: bytes beside those of its tensors in full, and the time for it."""

    file: str
    sha256: str
    bytes: int
    full_bytes: int
    tensors: int
    save_ms: float


def write_deltas(path: Path, changes: Iterable[tuple[str, Tensor, Tensor]], model_hash: str) -> Stored:
    """Write (name, value, base) one after the other; what equals its base is left out. Durable on return."""
    began, full, kinds = time.monotonic(), 0, {}
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, changed, unchanged in changes:
            value = changed.detach().cpu().contiguous()
            base = unchanged.to("cpu", value.dtype).contiguous()
            full += value.nbytes
            if not same_bits(value, base):
                archive.writestr(zipfile.ZipInfo(_ENTRY + name), encode(value, base))
                kinds[name] = {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        manifest = {"format": FORMAT, "model_hash": model_hash, "tensors": kinds}
        archive.writestr(zipfile.ZipInfo(_MANIFEST), json.dumps(manifest))
    sha256, size = sha256_of(partial), partial.stat().st_size
    publish(partial, path)
    return Stored(path.name, sha256, size, full, len(kinds), (time.monotonic() - began) * 1000)


class DeltaFile:
    """An open version file. `shapes` names the tensors that it holds."""

    def __init__(self, path: Path, model_hash: str) -> None:
        """Raise Damaged where the file is no version, GuardRefused where it is one of another base model."""
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
            manifest: dict[str, Any] = json.loads(self._archive.read(_MANIFEST))
            known = manifest["format"], manifest["model_hash"]
            kinds: dict[str, dict[str, Any]] = manifest["tensors"]
            self.shapes = {name: tuple(kind["shape"]) for name, kind in kinds.items()}
            self._dtypes = {name: getattr(torch, kind["dtype"]) for name, kind in kinds.items()}
        except OSError as error:
            raise Damaged(f"version file {path.name} cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"version file {path.name} is damaged: {error}") from error
        if known[0] != FORMAT:
            raise GuardRefused(f"version file {path.name} is of format {known[0]}; this reads {FORMAT}")
        if known[1] != model_hash:
            raise GuardRefused(f"version file {path.name} belongs to another base model; it was not applied")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def value(self, name: str, base: Tensor) -> Tensor:
        """Return the version's value of a tensor that it holds, made of that of the base model."""
        base = base.to("cpu", self._dtypes[name]).contiguous()
        try:
            if tuple(base.shape) != self.shapes[name]:
                raise ValueError(f"{name} is {self.shapes[name]} there, {tuple(base.shape)} in the model")
            return decode(self._archive.read(_ENTRY + name), base)
        except (OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
            raise Damaged(f"version file {self._path.name} is damaged: {error}") from error
