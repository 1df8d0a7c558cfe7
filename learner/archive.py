"""Durable versions as files: the trained tensors of a version, and the pointer that a starting server reads.

`versions/<id>.safetensors` holds every trained tensor (Hugging Face names, bf16 or the dtype of the live
tensor); what is absent is the base's. `versions/live.json` names the version in force: the plugin applies it
before the server takes its first request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from learner.live.names import text_name
from policies.errors import GuardRefused
from store.versions import Version

Read = Callable[[str], torch.Tensor]


class Archive:
    """The folder `versions/` of one home, bound to one base model by its hash."""

    def __init__(self, folder: Path, model_dir: Path, model_hash: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.model_dir = model_dir
        self.model_hash = model_hash

    def save(self, name: str, read: Read, tensor_names: Iterable[str]) -> str:
        """Write the named tensors to a new file. Returns the file's name; durable when it returns."""
        path = self.folder / f"{name}.safetensors"
        partial = path.with_suffix(".partial")
        save_file(
            {tensor: read(tensor).contiguous() for tensor in tensor_names},
            partial,
            metadata={"format": "1", "model_hash": self.model_hash},
        )
        partial.chmod(0o600)
        _publish(partial, path)
        return path.name

    def point(self, version: Version, step: int) -> None:
        """Name the version that a starting server must apply."""
        pointer = self.folder / "live.json"
        partial = pointer.with_suffix(".partial")
        content = {"version": version.id, "step": step, "file": version.file, "model_hash": self.model_hash}
        partial.write_text(json.dumps(content))
        partial.chmod(0o600)
        _publish(partial, pointer)

    def tensors(self, version: Version, tensor_names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the version's value of each named tensor, one at a time.

        Raises GuardRefused when the file is missing, damaged or of another model.
        """
        wanted = list(tensor_names)
        stored: set[str] = set()
        if version.file is not None:
            with self._open(self.folder / version.file) as file:
                stored = set(file.keys())
                for tensor in wanted:
                    if tensor in stored:
                        yield tensor, file.get_tensor(tensor)
        yield from self._base_tensors([tensor for tensor in wanted if tensor not in stored])

    def remove(self, version: Version) -> None:
        """Delete a version's file."""
        if version.file is not None:
            (self.folder / version.file).unlink(missing_ok=True)

    def _open(self, path: Path) -> safe_open:
        try:
            file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise GuardRefused(
                f"version file {path.name} cannot be read ({error}); roll back to another"
            ) from error
        if (file.metadata() or {}).get("model_hash") != self.model_hash:
            raise GuardRefused(f"version file {path.name} belongs to another base model; it was not applied")
        return file

    def _base_tensors(self, wanted: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for shard in sorted(self.model_dir.glob("*.safetensors")):
            with safe_open(shard, framework="pt") as file:
                present = {text_name(name): name for name in list(file.keys())}
                for tensor in wanted:
                    if tensor in present:
                        yield tensor, file.get_tensor(present[tensor])


def _publish(partial: Path, path: Path) -> None:
    """Rename into place, with the bytes and the name on disk before it returns."""
    _sync(partial, os.O_RDONLY)
    os.replace(partial, path)
    _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
