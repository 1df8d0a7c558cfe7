"""A clock that can be set: Python imports this at start where the folder stands in PYTHONPATH.

It adds the seconds in the file HEEDLOOP_BENCHMARK_CLOCK to the wall clock of the process. The monotonic clock
goes on, as it does on a machine whose clock is set. (libfaketime makes Python's sleep fail: EINVAL.)
"""

from __future__ import annotations

import os
import time

_FILE = os.environ.get("HEEDLOOP_BENCHMARK_CLOCK")


def _offset_ns() -> int:
    try:
        with open(_FILE or "") as file:
            return int(file.read() or 0) * 10**9
    except (OSError, ValueError):  # it is being replaced
        return 0


if _FILE:
    _true_ns = time.time_ns
    time.time_ns = lambda: _true_ns() + _offset_ns()
    time.time = lambda: time.time_ns() / 1e9
