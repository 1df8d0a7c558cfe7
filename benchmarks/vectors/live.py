"""A vector on a running system, by the command line: seconds, memory, and the bytes after its removal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.running_system import RUN, environment, known, running
from learner.live.client import LiveWeights

REPEATS = 5


def measure(home: Path, name: str) -> dict[str, Any]:
    """Apply and remove a vector of `home` a few times on a live server of its own."""
    with running(home) as learner:
        arena = known(home, "serving")["arena"]
        before = _fingerprint(arena)
        times, wall, peaks, restored, moved = [], [], [], [], []
        for _ in range(REPEATS):
            held = _memory(learner, "VmRSS", reset=True)
            began = time.perf_counter()
            times.append(_run(home, "apply", name)["ms"])
            wall.append(time.perf_counter() - began)
            peaks.append((_memory(learner, "VmHWM") - held) / 1024)
            moved.append(_fingerprint(arena) != before)
            _run(home, "remove", name)
            restored.append(_fingerprint(arena) == before)
    return {
        "apply_ms": median(times),
        "command_s": median(wall),
        "peak_memory_mb": max(peaks),
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


def _memory(pid: int, field: str, *, reset: bool = False) -> int:
    """Return a field of the learner's /proc/PID/status in KiB; `reset` lets its peak begin here."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])
