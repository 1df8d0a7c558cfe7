"""One shared file that holds all live weights: made by the server, mapped by the writer.

A folder (mode 0700) holds `rank0.bin` (the bytes), `rank0.json` (the manifest) and `owner.lock`, which the
serving process keeps locked as long as it lives. A restart replaces the files: whoever mapped the old ones
holds a ghost.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from learner.live.manifest import DATA, NAME, Manifest, TensorEntry
from policies.errors import ConfigError, GuardRefused, Unreachable

ALIGN = 4096
LOCK = "owner.lock"
BORROWED = "borrowed.safetensors"


def user_root() -> Path:
    """Where arenas lie when nobody says otherwise: /dev/shm/heedloop-<uid>."""
    return Path("/dev/shm") / f"heedloop-{os.getuid()}"


def default_arena(home: Path | None = None) -> Path:
    """The arena of a server that we start for `home`; without one, of a server that a user starts by hand."""
    if home is None:
        return user_root() / "default"
    return user_root() / hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]


def claim(folder: Path) -> int:
    """Take the folder for this process and drop what dead owners left. Returns the lock's file descriptor:
    keep it.

    Raises GuardRefused when a living server has it, ConfigError when it belongs to another user.
    """
    if folder.parent == user_root():
        _private(folder.parent)
    _private(folder)
    lock = _lock(folder)
    if lock is None:
        raise GuardRefused(
            f"{folder}: another server that is alive has this arena; give each its own `arena`"
        )
    _clear(folder)
    if folder.parent == user_root():
        for sibling in folder.parent.iterdir():
            if sibling != folder and sibling.is_dir():
                _sweep(sibling)
    return lock


def _private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid() or folder.is_symlink():
            raise ConfigError(f"{folder}: belongs to another user; choose another `server.arena`")
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}); choose another `server.arena`"
        ) from error


def _lock(folder: Path) -> int | None:
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _clear(folder: Path) -> None:
    for name in (NAME, f"{NAME}.new", DATA, f"{DATA}.new", BORROWED, f"{BORROWED}.new"):
        (folder / name).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    lock = _lock(folder)
    if lock is not None:
        _clear(folder)
        os.close(lock)


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
