"""The log file of a child: all that it and its libraries print. Bounded; read back for its last words."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

_TAIL_BYTES = 8192
_LINE_CHARS = 400
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ChildLog:
    """`path` holds the present log, `path`.1 the one before; each at most `limit` bytes and a little."""

    def __init__(self, path: Path, limit: int = 32 * 2**20) -> None:
        self.path = path
        self._limit = limit
        self._start = 0

    def open(self) -> BinaryIO:
        """Open for one more process to append to; `last_line` looks at what this process says."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = open(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")  # noqa: SIM115
        self._start = self.path.stat().st_size
        return output

    def last_line(self) -> str:
        """Return the last line that the present process wrote, "" when it said nothing."""
        with self.path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(min(self._start, size), size - _TAIL_BYTES))
            lines = _COLOUR.sub("", log.read().decode("utf-8", "replace")).split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return _event_of(last)[:_LINE_CHARS]

    def trim(self) -> bool:
        """Move a log that has grown too long aside, under the running process; True when it did.

        The process writes with O_APPEND, so it goes on at the new end of the emptied file. A line that
        comes between copy and cut is lost.
        """
        if not self.path.exists() or self.path.stat().st_size <= self._limit:
            return False
        shutil.copyfile(self.path, f"{self.path}.1")
        os.chmod(f"{self.path}.1", 0o600)
        os.truncate(self.path, 0)
        self._start = 0
        return True


def _event_of(line: str) -> str:
    """Return the message of one of our JSON lines; any other line as it is."""
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except ValueError:
            return line
        return str(record.get("event", line))
    return line
