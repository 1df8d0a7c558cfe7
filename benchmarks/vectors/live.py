"""A vector on a running system, by the command line: seconds, memory, and the bytes after its removal.

Memory is the learner's, beside what it held before. `peak_memory_mb` is its resident peak: it counts each
page of the arena and of files that it touches, too. `own_peak_mb` is what it took for itself (anonymous
memory, looked at every few milliseconds): values in work, and what the version's file is made in.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

from benchmarks.faults.round import until
from benchmarks.running_system import RUN, environment, known, running
from learner.live.client import LiveWeights

REPEATS = 5
_LOOK_S = 0.003
_SETTLED_S = 1200.0


def measure(home: Path, name: str) -> dict[str, Any]:
    """Apply and remove a vector of `home` a few times on a live server of its own."""
    with running(home) as learner:
        if not until(lambda: known(home, "activity") == "listening", _SETTLED_S):  # the base comes first
            raise RuntimeError("the learner did not come to rest; see its log")
        arena = known(home, "serving")["arena"]
        before = _fingerprint(arena)
        largest = _largest_tensor(arena)
        times, wall, peaks, own, restored, moved = [], [], [], [], [], []
        for _ in range(REPEATS):
            held = _memory(learner, "VmRSS", reset=True)
            began = time.perf_counter()
            with _looked_at(learner, "RssAnon") as seen:
                times.append(_run(home, "apply", name)["ms"])
            wall.append(time.perf_counter() - began)
            own.append((max(seen) - seen[0]) / 1024)
            peaks.append((_memory(learner, "VmHWM") - held) / 1024)
            moved.append(_fingerprint(arena) != before)
            _run(home, "remove", name)
            restored.append(_fingerprint(arena) == before)
    return {
        "apply_ms": median(times),
        "command_s": median(wall),
        "peak_memory_mb": max(peaks),
        "own_peak_mb": max(own),
        "largest_tensor_mb": largest / 2**20,
        "own_peak_of_largest_tensor": max(own) * 2**20 / largest,
        "moved": all(moved),
        "removed_bit_for_bit": all(moved) and all(restored),
        "n": REPEATS,
    }


def _run(home: Path, verb: str, name: str) -> dict[str, Any]:
    command = [sys.executable, str(RUN), "vectors", verb, name, "--json"]
    done = subprocess.run(command, env=environment(home), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _fingerprint(arena: str) -> str:
    live = LiveWeights.attach(Path(arena), exclusive=False)
    try:
        return live.fingerprint()
    finally:
        live.close()


def _largest_tensor(arena: str) -> int:
    """Return the bytes of the largest parameter that the server holds."""
    live = LiveWeights.attach(Path(arena), exclusive=False)
    try:
        return max(prod(live.shape(name)) * live.dtype(name).itemsize for name in live.names)
    finally:
        live.close()


@contextmanager
def _looked_at(pid: int, field: str) -> Iterator[list[int]]:
    """Collect a field of /proc/PID/status every few milliseconds; the first value is from before."""
    seen, done = [_memory(pid, field)], Event()

    def look() -> None:
        while not done.wait(_LOOK_S):
            seen.append(_memory(pid, field))

    looking = Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        done.set()
        looking.join()


def _memory(pid: int, field: str, *, reset: bool = False) -> int:
    """Return a field of the learner's /proc/PID/status in KiB; `reset` lets its peak begin here."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])
