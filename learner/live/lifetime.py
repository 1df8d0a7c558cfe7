"""The engine must not outlive its API server: an orphan would keep the arena from the next server."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that spawned it dies. Only for multiprocessing children.

    Raises OSError when the kernel refuses.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return  # the engine runs inside the user's own program
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent.pid:  # it died just before
        os.kill(os.getpid(), signal.SIGKILL)
