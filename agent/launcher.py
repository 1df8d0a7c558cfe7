"""Become a supervised child: `python -I -S launcher.py PARENT NICE CPUS -- ARGV...`; run as a file.

A program of its own (stdlib only): what must happen between fork and exec is not safe in a process
that has threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Sequence

_PR_SET_PDEATHSIG = 1
CANNOT_START = 2


def tied(argv: Sequence[str], *, nice: int = 0, cpus: Iterable[int] = ()) -> list[str]:
    """Return the command line that runs `argv` for no longer than this process lives."""
    allowed = ",".join(str(cpu) for cpu in sorted(cpus))
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(nice), allowed, "--", *argv]


def become(parent: int, nice: int, cpus: str, argv: list[str]) -> None:
    """Tie this process to the life of `parent`, lower its priority, and turn into `argv`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # the parent died before the line above
        os.kill(os.getpid(), signal.SIGKILL)
    if os.nice(nice) > 0:
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # never preempts who wakes up
    if cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[5:])
