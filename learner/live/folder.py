"""The folder of an arena (mode 0700): who may have it, and what is removed from it. No torch here.

It holds for each rank `rank0.bin` (the weights) and `rank0.json` (the manifest), and `owner.lock`, which the
serving process keeps locked as long as it lives. A restart replaces the files: whoever mapped the old ones
holds a ghost.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from learner.live.leftovers import drop_segments
from learner.live.privacy import require_private
from policies.errors import ConfigError, GuardRefused

LOCK = "owner.lock"
BORROWED = "borrowed.safetensors"
PREFIX = "heedloop-"


def default_arena() -> Path:
    """The arena of a server that is started without one: /dev/shm/heedloop-<uid>."""
    return Path("/dev/shm") / f"{PREFIX}{os.getuid()}"


def claim(folder: Path) -> int:
    """Take the folder for this process, and drop what dead owners left there and beside it (`heedloop-*`).

    Returns the lock's file descriptor: keep it open. Raises GuardRefused when a living server has the folder,
    ConfigError when it cannot be made or is not private to this user.
    """
    lock = _lock(folder)
    if lock is None:
        raise GuardRefused(f"{folder}: another server, which is alive, has this arena; give each its own")
    clear(folder)
    drop_segments()
    if folder.name.startswith(PREFIX):
        for sibling in folder.parent.glob(f"{PREFIX}*"):
            if sibling != folder and (sibling / LOCK).exists() and sibling.stat().st_uid == os.getuid():
                discard(sibling)
    return lock


def discard(folder: Path, patience: float = 0.0) -> None:
    """Remove the arena of a server that has ended, for its memory; does nothing while one lives.

    A killed server may hold its lock a moment longer: `patience` is how many seconds to wait for it.
    """
    deadline = time.monotonic() + patience
    while folder.is_dir():
        lock = _lock(folder)
        if lock is not None:
            clear(folder)
            (folder / LOCK).unlink()
            if not any(folder.iterdir()):  # a file that is not ours stays
                folder.rmdir()
            os.close(lock)
            drop_segments()
            return
        if time.monotonic() >= deadline:
            return
        time.sleep(0.05)


def clear(folder: Path) -> None:
    """Remove the files of an arena whose lock the caller holds: whoever has them mapped keeps a ghost."""
    for pattern in ("rank*.json", "rank*.json.new", "rank*.bin", "rank*.bin.new", f"{BORROWED}*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _lock(folder: Path) -> int | None:
    """Make the folder, private, and lock it. None when another process has the lock."""
    while True:
        _make(folder)
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # discarded since it was made
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / LOCK).stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # discarded since it was opened
        os.close(descriptor)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private(folder)
    except FileNotFoundError:
        pass  # discarded by another process: the caller tries again
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}); choose another `server.arena`"
        ) from error
