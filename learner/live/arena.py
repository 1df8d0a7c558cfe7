"""The shared file of all live weights: made by the server, mapped by the writer."""

from __future__ import annotations

import errno
import mmap
import os
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from learner.live.manifest import DATA, Manifest, TensorEntry
from policies.errors import ConfigError, Unreachable

ALIGN = 4096


class Arena:
    """The mapped file, as one tensor of bytes on which the tensors of the entries are views."""

    def __init__(self, file: mmap.mmap) -> None:
        self.map = file
        self.bytes = torch.frombuffer(file, dtype=torch.uint8)

    @classmethod
    def create(cls, folder: Path, nbytes: int) -> Arena:
        """Make and map a file of zeros, every page of it reserved. Raises ConfigError when there is no
        room.
        """
        fresh = folder / f"{DATA}.new"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
            file = mmap.mmap(descriptor, nbytes)
        except OSError as error:
            fresh.unlink()
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            room = os.statvfs(folder)
            free = room.f_bavail * room.f_frsize >> 20
            raise ConfigError(
                f"{folder}: the live weights need {nbytes >> 20} MiB, {free} MiB are free; enlarge /dev/shm "
                "(docker: --shm-size) or set `server.arena` to a larger tmpfs"
            ) from error
        finally:
            os.close(descriptor)
        os.replace(fresh, folder / DATA)
        return cls(file)

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> Arena:
        """Map the file of a manifest. Raises Unreachable when it is gone or shorter than the manifest
        says.
        """
        path = folder / DATA
        try:
            with path.open("r+b") as file:
                return cls(mmap.mmap(file.fileno(), manifest.nbytes))
        except (FileNotFoundError, ValueError) as error:
            raise Unreachable(f"{path}: the live weights are gone; start the server again") from error

    def tensor(self, entry: TensorEntry) -> Tensor:
        """The entry's memory as a flat tensor of its dtype."""
        dtype: torch.dtype = getattr(torch, entry.dtype)
        return self.bytes[entry.offset : entry.offset + prod(entry.shape) * dtype.itemsize].view(dtype)

    def holds(self, tensor: Tensor) -> bool:
        """Whether the tensor's memory lies in this file."""
        low = self.bytes.data_ptr()
        return low <= tensor.data_ptr() and tensor.data_ptr() + tensor.nbytes <= low + self.bytes.nbytes


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
