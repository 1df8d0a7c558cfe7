"""The whole system for half an hour under load: does anything grow? Last line: one JSON object.

`python -m benchmarks.soak --json` (`--minutes 30`): `run.py up` with vLLM on SmolLM2, turns and corrections
over the bus, clients that chat, steps and probes all the while. Resident memory of each process, with its
descendants, is read every few seconds; growth is the median of the last tenth over the median of the first
tenth after the warm-up. Each minute is a line on stderr, and in `soak.jsonl` of the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
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
_START_S = 300.0


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
            flushed = load.flush(30)
            return _report(system, load, samples, seconds) | {"all_delivered": flushed}
        finally:
            load.close()
    finally:
        system.stop()
        shutil.copytree(system.home / "logs", folder / "logs", dirs_exist_ok=True)


def _watch(system: System, load: Load, journal: Path, seconds: float) -> list[dict[str, int]]:
    """Sample the memory of all processes until the time is over."""
    samples: list[dict[str, int]] = []
    began, told = time.monotonic(), 0.0
    while time.monotonic() - began < seconds:
        samples.append(resident(system))
        if time.monotonic() - told >= 60:
            told = time.monotonic()
            line = {
                "s": round_(told - began),
                **samples[-1],
                "steps": _steps(system),
                "answered": load.answered,
            }
            with journal.open("a") as file:
                file.write(json.dumps(line) + "\n")
            sys.stderr.write(json.dumps(line) + "\n")
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


def growth(values: Sequence[int]) -> float:
    """Return the median of the last tenth over that of the first tenth after the warm-up, less one."""
    settled = values[int(len(values) * WARM_UP_SHARE) :]
    part = max(1, len(settled) // 10)
    return median(settled[-part:]) / median(settled[:part]) - 1


def round_(seconds: float) -> int:
    """Return whole seconds."""
    return int(seconds)


def _private(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    except psutil.NoSuchProcess:
        return 0


def _steps(system: System) -> int:
    return int(system.one("SELECT count(*) FROM steps WHERE state = 'confirmed'"))


def _report(system: System, load: Load, samples: Sequence[dict[str, int]], seconds: float) -> dict[str, Any]:
    names = samples[-1].keys()
    grown = {name: growth([sample.get(name, 0) for sample in samples]) for name in names}
    restarts = {row["name"]: row["restarts"] for row in system.rows("SELECT name, restarts FROM processes")}
    return {
        "minutes": float(f"{seconds / 60:.1f}"),
        "samples": len(samples),
        "growth": {name: float(f"{value:.4f}") for name, value in grown.items()},
        "growth_worst": float(f"{max(grown.values()):.4f}"),
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
