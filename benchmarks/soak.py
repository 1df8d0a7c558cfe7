"""The whole system for half an hour under load: does anything grow? Last line: one JSON object.

`python -m benchmarks.soak --json` (`--minutes 30`): `run.py up` with vLLM on SmolLM2, turns over the bus and
in a followed log, corrections, clients that chat, steps and probes all the while. Resident memory of each
process, with its descendants, is read every few seconds; growth is the median of the last tenth over the
median of the first tenth after the warm-up, which is a fifth of the time, and for the learner also its first
eight steps; null where too little is left to say. The learner gives freed memory back after each check, and
takes it again with the next step, so that a median says in which of both it was read: `growth_of_peaks` and
`growth_of_means` are those of the highest and the mean, of the last third over the first. Each minute is a
line on stderr, each sample one in `soak.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

from benchmarks.faults import room, round
from benchmarks.faults.load import Load
from benchmarks.faults.system import System
from store.inspection import inspect
from store.write_ahead_log import log_bytes

SAMPLE_S = 5.0
WARM_UP_SHARE = 0.2
"""Of the time: allocators and caches (KV cache pages, conversations held) fill in it."""
WARM_UP_STEPS = 8
"""What a step takes is taken at the first ones, and a learner may begin late."""
_FEWEST = 40
"""Samples that a growth is told from."""
_START_S = 300.0
_DELIVERY_S = 30.0


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="smollm2", help="`smollm2` or a checkpoint folder")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="logs and samples")
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    room.enter("benchmarks.soak", sys.argv[1:], size=6 * 2**30)
    arguments.folder = arguments.folder.absolute()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    print(json.dumps(soak(arguments.folder, arguments.model, arguments.minutes * 60)))


def soak(folder: Path, model: str, seconds: float) -> dict[str, Any]:
    """Run the system under load for so long; return what is printed."""
    log = folder / "agent.jsonl"
    log.touch()
    system = System(room.HOME / "home", Path(model), None, log, folder)
    system.start()
    try:
        if not round.until(system.is_ready, _START_S):
            raise SystemExit(f"the system did not start: see {system.output}")
        broker, serving = system.known("broker_url"), system.known("serving")
        load = Load(lambda: broker, folder / "spool", log, 0)
        load.server = (serving["url"], serving["model_name"])
        load.resume()
        try:
            samples = _watch(system, load, folder / "soak.jsonl", seconds)
            load.pause()
            delivered = round.until(lambda: load.flush(1) and not round.missing(system, load), _DELIVERY_S)
            return _report(system, load, samples, seconds) | {"all_delivered": delivered}
        finally:
            load.close()
    finally:
        system.stop()
        shutil.copytree(system.home / "logs", folder / "logs", dirs_exist_ok=True)


def _watch(system: System, load: Load, journal: Path, seconds: float) -> list[dict[str, int]]:
    """Sample the memory of all processes, and the steps taken, until the time is over."""
    samples: list[dict[str, int]] = []
    began, told = time.monotonic(), 0.0
    while time.monotonic() - began < seconds:
        samples.append(resident(system) | {"steps": _steps(system)})
        now = time.monotonic()
        line = json.dumps({"s": int(now - began), **samples[-1], "answered": load.answered}) + "\n"
        with journal.open("a") as file:
            file.write(line)
        if now - told >= 60:
            told = now
            sys.stderr.write(line)
        time.sleep(SAMPLE_S)
    return samples


def resident(system: System) -> dict[str, int]:
    """Return the private resident bytes of each child with its descendants, and of the supervisor.

    Shared memory (the arena, counted again in each process that maps it) is left out.
    """
    rows = system.rows("SELECT name, pid FROM processes WHERE pid IS NOT NULL")
    found = {"up": _private(psutil.Process(system.pid))}
    for row in rows:
        process = psutil.Process(row["pid"])
        found[row["name"]] = sum(map(_private, [process, *process.children(recursive=True)]))
    return found


def settled(samples: Sequence[dict[str, int]], name: str) -> list[int]:
    """Return the bytes of a process behind its warm-up."""
    late = samples[int(len(samples) * WARM_UP_SHARE) :]
    least = WARM_UP_STEPS if name == "learner" else 0
    return [sample.get(name, 0) for sample in late if sample["steps"] >= least]


def growth(values: Sequence[int]) -> float | None:
    """Return the median of the last tenth over that of the first tenth, less one; None for too few to say."""
    if len(values) < _FEWEST:
        return None
    part = len(values) // 10
    return float(f"{median(values[-part:]) / median(values[:part]) - 1:.4f}")


def growth_of_thirds(values: Sequence[int], of: Callable[[Sequence[int]], float]) -> float | None:
    """Return what `of` says of the last third over that of the first, less one; None for too few to say."""
    if len(values) < _FEWEST:
        return None
    part = len(values) // 3
    return float(f"{of(values[-part:]) / of(values[:part]) - 1:.4f}")


def _private(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    except psutil.NoSuchProcess:
        return 0


def _steps(system: System) -> int:
    return int(system.one("SELECT count(*) FROM steps WHERE state = 'confirmed'"))


def _report(system: System, load: Load, samples: Sequence[dict[str, int]], seconds: float) -> dict[str, Any]:
    names = [name for name in samples[-1] if name != "steps"]
    grown = {name: growth(settled(samples, name)) for name in names}
    known = [value for value in grown.values() if value is not None]
    restarts = {row["name"]: row["restarts"] for row in system.rows("SELECT name, restarts FROM processes")}
    return {
        "minutes": float(f"{seconds / 60:.1f}"),
        "samples": len(samples),
        "samples_of_learner": len(settled(samples, "learner")),
        "growth": grown,
        "growth_of_peaks": {name: growth_of_thirds(settled(samples, name), max) for name in names},
        "growth_of_means": {name: growth_of_thirds(settled(samples, name), fmean) for name in names},
        "growth_worst": max(known) if len(known) == len(grown) else None,
        "resident_mb": {name: samples[-1][name] // 2**20 for name in names},
        "steps": _steps(system),
        "turns": system.one("SELECT count(*) FROM events"),
        "answered": load.answered,
        "failed": load.failed,
        "restarts": restarts,
        "log_bytes": log_bytes(system.home / "heedloop.db"),
        "findings": [f"{one.name}: {one.detail}" for one in inspect(system.home, learning=True)],
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }


if __name__ == "__main__":
    main()
