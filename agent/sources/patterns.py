"""Which files and folders the patterns of `source.watch` mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LOG_SUFFIXES = (".jsonl", ".ndjson", ".json", ".traj", ".log")
"""What is followed in a folder that is named as a whole; a file or glob pattern may name any other."""
MAX_FOLDERS = 4096
"""Folders that are watched; more are only looked at every `poll_s`."""


class Found(NamedTuple):
    """What fits the patterns now."""

    files: dict[Path, os.stat_result]
    folders: set[Path]


def find(patterns: tuple[str, ...]) -> Found:
    """Return the files that fit, in the order of their names, and the folders where others may come."""
    files: dict[Path, os.stat_result] = {}
    folders: set[Path] = set()
    for pattern in map(absolute, patterns):
        if os.path.isdir(pattern):
            names = _below(pattern, folders)
        else:
            names = glob.iglob(pattern, recursive=True)
            folders.add(fixed_part(pattern))
        for name in names:
            with suppress(OSError):
                status = os.stat(name)
                if os.path.isfile(name):
                    files[Path(name)] = status
    folders |= {path.parent for path in files}
    kept = sorted(folder for folder in folders if folder.is_dir())[:MAX_FOLDERS]
    return Found(dict(sorted(files.items())), set(kept))


def absolute(pattern: str) -> str:
    """Return a pattern with `~` and the current folder filled in."""
    return os.path.abspath(os.path.expanduser(pattern))


def fixed_part(pattern: str) -> Path:
    """Return the folder above the first wildcard of a pattern."""
    path = Path(pattern).parent
    while glob.has_magic(str(path)):
        path = path.parent
    return path


def _below(folder: str, folders: set[Path]) -> Iterator[str]:
    """Yield the logs below a folder, and note the folders; hidden ones and links to folders are left out."""
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        folders.add(Path(place))
        for name in names:
            if name.endswith(LOG_SUFFIXES) and not name.startswith("."):
                yield os.path.join(place, name)
