"""The physical cores that this process may use, each with its logical CPUs."""

from __future__ import annotations

import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


def physical_cores(folder: Path = _CPUS) -> list[list[int]]:
    """Return the cores in order; where the kernel does not say which CPUs share one, each is its own."""
    cores: dict[str, list[int]] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        try:
            core = (folder / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            core = str(cpu)
        cores.setdefault(core, []).append(cpu)
    return list(cores.values())
