"""The shared memory of all live weights of a rank: made by the server, mapped by the writer.

On a CPU it is one file. On a GPU the file holds the control page only, and the tensors lie in one block of
GPU memory of the same layout (its first page stays unused).
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from learner.live import cuda
from learner.live.control import PAGE
from learner.live.manifest import Device, Manifest, TensorEntry, data_name
from learner.live.privacy import require_private
from policies.errors import ConfigError, Unreachable

ALIGN = 4096
_NO_ROOM = (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT)


class Arena:
    """One tensor of bytes, on which the tensors of the entries are views, and the mapped file."""

    def __init__(self, file: mmap.mmap, block: Tensor | None = None) -> None:
        self.map = file
        self.bytes = torch.frombuffer(file, dtype=torch.uint8) if block is None else block

    @classmethod
    def create(cls, folder: Path, nbytes: int, rank: int = 0) -> Arena:
        """Make and map a file of zeros, every page of it reserved. Raises ConfigError when there is no
        room.
        """
        path = folder / data_name(rank)
        fresh = path.with_suffix(".bin.new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
            file = mmap.mmap(descriptor, nbytes)
        except OSError as error:
            fresh.unlink()
            if error.errno not in _NO_ROOM:
                raise
            room = os.statvfs(folder)
            free = room.f_bavail * room.f_frsize >> 20
            raise ConfigError(
                f"{folder}: the live weights need {nbytes >> 20} MiB, {free} MiB are free; enlarge /dev/shm "
                "(docker: --shm-size) or set `server.arena` to a larger tmpfs"
            ) from error
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
        return cls(file)

    @classmethod
    def create_on_gpu(cls, folder: Path, nbytes: int, device: torch.device, rank: int = 0) -> Arena:
        """The same with the tensors in a block of GPU memory of its own; `device` is this process's name of
        it.
        """
        page = cls.create(folder, PAGE, rank)
        return cls(page.map, cuda.allocate(nbytes, device))

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> Arena:
        """Map the memory of a manifest.

        Raises Unreachable when it is gone or shorter than the manifest says, ConfigError when it is not
        private or its GPU is not visible to this process.
        """
        mapped = _map(folder / data_name(manifest.rank), PAGE if manifest.device else manifest.nbytes)
        if manifest.device is None:
            return cls(mapped)
        handle = bytes.fromhex(manifest.device.handle)
        return cls(mapped, cuda.open_block(handle, manifest.nbytes, cuda.device_of(manifest.device.uuid)))

    def device(self) -> Device | None:
        """What a manifest says of the block of GPU memory; None for an arena that is a file."""
        if not self.bytes.is_cuda:
            return None
        return Device(uuid=cuda.uuid_of(self.bytes.device), handle=cuda.export(self.bytes).hex())

    def tensor(self, entry: TensorEntry) -> Tensor:
        """The entry's memory as a flat tensor of its dtype. Raises ConfigError for one that lies outside."""
        dtype: torch.dtype = getattr(torch, entry.dtype)
        end = entry.offset + prod(entry.shape) * dtype.itemsize
        if not 0 <= entry.offset <= end <= self.bytes.nbytes:
            raise ConfigError(
                f"the manifest of these live weights is foreign: bytes {entry.offset} to {end} of "
                f"{self.bytes.nbytes}; start the server again"
            )
        return self.bytes[entry.offset : end].view(dtype)

    def holds(self, tensor: Tensor) -> bool:
        """Whether the tensor's memory lies in this file."""
        low = self.bytes.data_ptr()
        return low <= tensor.data_ptr() and tensor.data_ptr() + tensor.nbytes <= low + self.bytes.nbytes


def _map(path: Path, nbytes: int) -> mmap.mmap:
    with suppress(FileNotFoundError):
        require_private(path)
    try:
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), nbytes)
    except (FileNotFoundError, ValueError) as error:  # ValueError: it is shorter
        raise Unreachable(f"{path}: the live weights are gone; start the server again") from error


def place(
    entries: dict[str, TensorEntry], nbytes: dict[str, int], start: int
) -> tuple[dict[str, TensorEntry], int]:
    """Give each entry without an alias its offset, pages apart, from `start` on. Returns them and the whole
    size.
    """
    placed = {}
    for name, entry in entries.items():
        placed[name] = entry.model_copy(update={"offset": start}) if entry.alias is None else entry
        if entry.alias is None:
            start += -(-nbytes[name] // ALIGN) * ALIGN
    return placed, start
