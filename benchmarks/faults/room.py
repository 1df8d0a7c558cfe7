"""A room of its own for the system: a mount namespace in which /dev/shm and the state folder are small tmpfs.

What fills up in it is full for the system alone; the machine's own file systems are not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from agent.launcher import tied

INSIDE = "HEEDLOOP_BENCHMARK_ROOM"
"""Set inside; no setting of heedloop's."""
HOME = Path("/tmp/heedloop-faults")
SHARED_MEMORY = Path("/dev/shm")
SMALL = 384 * 2**20
"""Bytes of each file system: filled in a moment."""
_FILLER = ".filler"


def enter(module: str, arguments: list[str], size: int = SMALL) -> None:
    """Run this module again inside the room, and end with its exit code; returns when inside already.

    Process ids are the room's own, too: however this ends, nothing that was started in it lives on.
    """
    if os.environ.get(INSIDE):
        _mount(size)
        return
    if shutil.which("unshare") is None:
        sys.exit("this needs `unshare` of util-linux: the faults happen in namespaces of their own")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    spaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    init = ["sh", "-c", '"$@" & wait $!', "init"]  # collects orphans that have ended
    command = tied(["unshare", *user, *spaces, *init, sys.executable, "-m", module, *arguments])
    sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode)


def _mount(size: int) -> None:
    HOME.mkdir(mode=0o700, exist_ok=True)
    for folder in (HOME, SHARED_MEMORY):
        options = f"size={size},mode={'0700' if folder == HOME else '1777'}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def fill(folder: Path) -> int:
    """Fill a file system of the room to the last byte; returns how many bytes that took."""
    written = 0
    with (folder / _FILLER).open("wb", buffering=0) as filler:
        for size in (2**20, 4096):
            try:
                while True:
                    written += filler.write(b"\0" * size)
            except OSError:  # full for blocks of this size
                continue
    return written


def free(folder: Path) -> None:
    """Take the filler away."""
    (folder / _FILLER).unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Return what can still be written."""
    return shutil.disk_usage(folder).free
