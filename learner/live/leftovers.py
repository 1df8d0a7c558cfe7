"""Shared memory that killed vLLM servers leave behind: the segments by which ranks on a CPU talk.

vLLM names them `vllm_dist_<random>-...-cpushm_<rank>` (`cpu_communicator.py`) and unlinks them at a clean end
alone. Nothing tells whose they were, so one goes only when no process has it mapped any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PATTERN = "vllm_dist_*cpushm_*"
_SETTLED_S = 60.0
"""A segment that was just made may not be mapped yet."""


def drop_segments(folder: Path = Path("/dev/shm"), settled_s: float = _SETTLED_S) -> list[str]:
    """Remove this user's segments that nobody has mapped. Returns their names."""
    before = time.time() - settled_s
    ours = [path for path in folder.glob(_PATTERN) if _is_ours(path, before)]
    if not ours:
        return []
    mapped = "\n".join(_maps())
    gone = [path for path in ours if path.name not in mapped]
    for path in gone:
        path.unlink(missing_ok=True)
    return [path.name for path in gone]


def _is_ours(path: Path, before: float) -> bool:
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_uid == os.getuid() and found.st_mtime < before
    return False


def _maps() -> Iterator[str]:
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has ended, or is another user's, who cannot map ours
            yield maps.read_text(errors="replace")
