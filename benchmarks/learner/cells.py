"""Measuring one thing at a time: CPU seconds side by side, peak memory in a process of its own.

Seconds are those of the one thread that computes, not of the clock: other work on the machine then matters
little, and no measurement here waits for anything.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from learner.allocator import give_back
from learner.model import compute_dtype

MIB = 1 << 20


def side_by_side(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Run every way in turn, `repeats` times after a warm-up if there are several; return medians in s."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + (repeats > 1)):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if turn or repeats == 1:
                seconds[name].append(time.process_time() - began)
    return {name: median(found) for name, found in seconds.items()}


def extra_mib(run: Callable[[], object]) -> float:
    """Return by how much the peak of memory while `run` runs exceeds what the process held before, in MiB."""
    give_back()  # what is freed and kept would count as held
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """Return a field of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


class Cells:
    """Results that are there already, in a file that is written after each cell: of a model, in one type."""

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._of = f"{model} on {platform.machine()}, {compute_dtype()}"
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._all = kept
        self._known: dict[str, Any] = kept.setdefault(self._of, {})

    def get(self, name: str) -> dict[str, Any]:
        """Return a cell, measured now in its own process if need be. Raises RuntimeError if it fails."""
        if name not in self._known:
            sys.stderr.write(f"{name} ...\n")
            began = time.monotonic()
            environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "benchmarks.learner", "--model", self._model, "--cell", name]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"cell {name!r} ended with {done.returncode}")
            self._known[name] = json.loads(done.stdout.splitlines()[-1])
            sys.stderr.write(f"{name}: {self._known[name]} ({time.monotonic() - began:.0f} s)\n")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self._all, indent=1))
            partial.replace(self._path)
        return dict(self._known[name])
