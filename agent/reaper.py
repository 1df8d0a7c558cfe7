"""Outlives a supervisor that is killed, by a moment: to kill the process groups that it leaves behind.

A child dies with its parent by PR_SET_PDEATHSIG, a grandchild does not: vLLM computes in one. Run as a file
(stdlib only), it reads `+GROUP` and `-GROUP` lines until the pipe from the supervisor closes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable


class Reaper:
    """The supervisor's end: says which groups are alive. Its process starts with the first of them."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[str] | None = None

    def watch(self, group: int) -> None:
        """Have a process group killed when this process ends."""
        self._groups.add(group)
        self._say(f"+{group}")

    def forget(self, group: int) -> None:
        """Take back `watch`: the group has ended."""
        self._groups.discard(group)
        self._say(f"-{group}")

    def close(self) -> None:
        """End it; groups that are still watched are killed."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _say(self, line: str) -> None:
        self._process = self._process or self._start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
        except BrokenPipeError:  # somebody killed it: the next one learns of all groups
            self.close()
            for group in self._groups:
                self.watch(group)

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            process_group=0,
        )


def reap(lines: Iterable[str]) -> None:
    """Follow the lines to their end, then kill what is left."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reap(sys.stdin)
