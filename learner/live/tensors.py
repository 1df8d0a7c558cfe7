"""The live tensors under their Hugging Face names, whatever the server packs, stacks, keeps twice or spreads
over ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from learner.live import layout
from learner.live.arena import Arena
from learner.live.manifest import Manifest, Run, TensorEntry
from policies.errors import ConfigError


class Shard:
    """The tensors in the arena of one rank, and the runs of parameters in them."""

    def __init__(self, manifest: Manifest, arena: Arena) -> None:
        self.hf = manifest.hf
        self.entries = {n: e for n, e in manifest.tensors.items() if e.alias is None}
        self.flat = {name: arena.tensor(entry) for name, entry in self.entries.items()}
        self._copies: dict[str, list[str]] = {}
        for name, entry in self.entries.items():
            if entry.copy_of is not None:
                self._copies.setdefault(entry.copy_of, []).append(name)

    def memory(self, run: Run) -> Tensor | None:
        """The memory of a run, flat; None where it is packed."""
        if self.entries[run.tensor].layout != "plain":
            return None
        return self.flat[run.tensor][run.start : run.start + run.elements]

    def read(self, run: Run) -> Tensor:
        """The elements of a run, flat; they may be the memory itself."""
        memory = self.memory(run)
        if memory is not None:
            return memory
        rows, columns = _matrix(self.entries[run.tensor])
        first, count = run.start // columns, run.elements // columns
        return layout.read_rows(self.flat[run.tensor], rows, columns, first, count).reshape(-1)

    def write(self, run: Run, part: Tensor) -> None:
        """Put the elements of a run wherever this rank holds them."""
        for name in (run.tensor, *self._copies.get(run.tensor, ())):
            entry, flat = self.entries[name], self.flat[name]
            if entry.layout == "plain":
                flat[run.start : run.start + part.numel()].copy_(part)
            else:
                rows, columns = _matrix(entry)
                layout.write_rows(flat, rows, columns, run.start // columns, part.view(-1, columns))


class LiveTensors:
    """Read and write of the parameters of one server. No checks of who may: that is `LiveWeights`."""

    def __init__(self, parts: Sequence[tuple[Manifest, Arena]]) -> None:
        self.shards = [Shard(manifest, arena) for manifest, arena in parts]
        self._checkpoint = parts[0][0].checkpoint
        self._runs: dict[str, list[tuple[Shard, Run]]] = {}
        for shard in self.shards:
            for name, runs in shard.hf.items():
                self._runs.setdefault(name, []).extend((shard, run) for run in runs)
        self.names = tuple(self._runs)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter, as in the checkpoint."""
        self._known(name)
        return self._checkpoint[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """Type that the server keeps the parameter in (bfloat16; a few small ones float32)."""
        shard, run = self._known(name)[0]
        return shard.flat[run.tensor].dtype

    def view(self, name: str) -> Tensor | None:
        """The live memory itself, or None where the server keeps it packed or in pieces. To read: write()
        knows copies.
        """
        runs = self._known(name)
        shard, run = runs[0]
        memory = shard.memory(run) if len(runs) == 1 else None
        return None if memory is None else memory.view(self.shape(name))

    def read(self, name: str) -> Tensor:
        """A copy of the parameter, in its shape, on the device of its (first) shard."""
        runs = self._known(name)
        shard, run = runs[0]
        whole = torch.empty(self.shape(name), dtype=self.dtype(name), device=shard.flat[run.tensor].device)
        for shard, run in runs:
            _piece(whole.view(-1), run).copy_(shard.read(run).view(run.repeat, run.count))
        return whole

    def write(self, name: str, value: Tensor) -> None:
        """Write a parameter, rounded to nearest in the server's dtype, to every place that holds it."""
        if tuple(value.shape) != self.shape(name):
            raise ConfigError(f"{name}: shape {tuple(value.shape)} given, {self.shape(name)} is served")
        flat = value.detach().to(self.dtype(name)).reshape(-1)
        for shard, run in self._runs[name]:
            shard.write(run, _piece(flat, run).reshape(-1))

    def settle(self) -> None:
        """Wait until every write has arrived: those to a GPU go on after `write` returns."""
        for device in {flat.device for shard in self.shards for flat in shard.flat.values()}:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def fingerprint(self) -> str:
        """blake2b over the served bytes of every tensor of every rank, as packed and with second copies, in
        order of name.
        """
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.shards:
            for name in sorted(shard.flat):
                digest.update(name.encode())
                digest.update(shard.flat[name].view(torch.uint8).cpu().numpy().data)
        return digest.hexdigest()

    def _known(self, name: str) -> list[tuple[Shard, Run]]:
        if name not in self._runs:
            raise ConfigError(f"{name}: the server has no such parameter")
        return self._runs[name]


def _piece(flat: Tensor, run: Run) -> Tensor:
    """The elements of a flat parameter that a run holds: a view (repeat, count)."""
    start = flat.storage_offset() + run.source
    return flat.as_strided((run.repeat, run.count), (run.step or run.count, 1), start)


def _matrix(entry: TensorEntry) -> tuple[int, int]:
    """Rows and columns of a packed entry; a convolution's (channels, 1, width) counts as (channels,
    width).
    """
    return entry.shape[0], entry.shape[-1]
