"""Steering vectors, measured. Last line: one JSON object.

`HEEDLOOP_DATA=... python -m benchmarks.steering --json` (ten minutes to forty; each part is kept in a file,
so that an interrupted run goes on where it was). Four directions of llm_steer_instruct, one of ours and a
persona, from ten pairs each, on held-out questions that do not mention them: vector off, on, and random of
the same norm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.parts import Parts
from benchmarks.steering import instant
from benchmarks.steering.bench import TOKENS, Bench
from benchmarks.steering.directions import DIRECTIONS, questions
from learner.probing.material import load_material
from learner.steering import tryout
from learner.steering.choice import COSTS
from policies.errors import ConfigError


def engine() -> dict[str, Any]:
    """Measure bit-identity and cost in a live engine, in a process of its own."""
    environment = os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_USE_AOT_COMPILE": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "benchmarks.steering.engine"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure what is not measured yet; print the object."""
    parser = argparse.ArgumentParser(description=__doc__)
    kept = Path(tempfile.gettempdir()) / "heedloop-benchmark-steering"
    parser.add_argument("--folder", type=Path, default=kept, help="keeps parts (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    arguments.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made_on = [*questions(), *load_material().drawn(0).texts, TOKENS, tryout.TOKENS, instant.TOKENS, *COSTS]
    try:
        parts, bench = Parts(arguments.folder / "parts.json", made_on), cache(Bench)
    except ConfigError as error:
        parser.error(str(error))
    directions = {d.name: parts.get(d.name, lambda d=d: bench().measure(d)) for d in DIRECTIONS}
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread; SmolLM2-135M",
        "directions": directions,
        **parts.get("engine", engine),
        **parts.get("instant", lambda: instant.measure(arguments.folder / "home")),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
