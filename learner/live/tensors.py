"""The live tensors under their Hugging Face names, whatever the server packs, stacks or keeps twice."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from learner.live import layout
from learner.live.arena import Arena
from learner.live.manifest import Manifest, Run, TensorEntry
from policies.errors import ConfigError


class LiveTensors:
    """Read and write of the parameters of one arena. No checks of who may: that is `LiveWeights`."""

    def __init__(self, manifest: Manifest, arena: Arena) -> None:
        self._hf, self._checkpoint = manifest.hf, manifest.checkpoint
        self._entries = {n: e for n, e in manifest.tensors.items() if e.alias is None}
        self._flat = {name: arena.tensor(entry) for name, entry in self._entries.items()}
        self._copies: dict[str, list[str]] = {}
        for name, entry in self._entries.items():
            if entry.copy_of is not None:
                self._copies.setdefault(entry.copy_of, []).append(name)
        self.names = tuple(manifest.hf)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter, as in the checkpoint."""
        return self._checkpoint[self._known(name)].shape

    def dtype(self, name: str) -> torch.dtype:
        """Type that the server keeps the parameter in (bfloat16; a few small ones float32)."""
        return self._flat[self._hf[self._known(name)][0].tensor].dtype

    def view(self, name: str) -> Tensor | None:
        """The live memory itself, or None where the server keeps it packed or in pieces. To read: write()
        knows copies.
        """
        runs = self._hf[self._known(name)]
        if len(runs) != 1 or self._entries[runs[0].tensor].layout != "plain":
            return None
        return self._part(runs[0]).view(self.shape(name))

    def read(self, name: str) -> Tensor:
        """A copy of the parameter, in its shape."""
        runs = self._hf[self._known(name)]
        parts = [self._get(run) for run in runs]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.view(self.shape(name))

    def write(self, name: str, value: Tensor) -> None:
        """Write a parameter, rounded to nearest in the server's dtype, to every place that holds it."""
        if tuple(value.shape) != self.shape(name):
            raise ConfigError(f"{name}: shape {tuple(value.shape)} given, {self.shape(name)} is served")
        flat = value.detach().to(self.dtype(name)).reshape(-1)
        for run in self._hf[name]:
            part = flat[run.source : run.source + run.count]
            for tensor in (run.tensor, *self._copies.get(run.tensor, ())):
                self._put(tensor, run.start, part)

    def fingerprint(self) -> str:
        """blake2b over the served bytes of every tensor, as packed and with second copies, in order of
        name.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self._flat):
            digest.update(name.encode())
            digest.update(self._flat[name].view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _known(self, name: str) -> str:
        if name not in self._hf:
            raise ConfigError(f"{name}: the server has no such parameter")
        return name

    def _part(self, run: Run) -> Tensor:
        return self._flat[run.tensor][run.start : run.start + run.count]

    def _get(self, run: Run) -> Tensor:
        entry = self._entries[run.tensor]
        if entry.layout == "plain":
            return self._part(run).clone()
        rows, columns = _matrix(entry)
        first, count = run.start // columns, run.count // columns
        return layout.read_rows(self._flat[run.tensor], rows, columns, first, count).reshape(-1)

    def _put(self, tensor: str, start: int, part: Tensor) -> None:
        entry, flat = self._entries[tensor], self._flat[tensor]
        if entry.layout == "plain":
            flat[start : start + part.numel()].copy_(part)
        else:
            rows, columns = _matrix(entry)
            layout.write_rows(flat, rows, columns, start // columns, part.view(-1, columns))


def _matrix(entry: TensorEntry) -> tuple[int, int]:
    """Rows and columns of a packed entry; a convolution's (channels, 1, width) counts as (channels,
    width).
    """
    return entry.shape[0], entry.shape[-1]
