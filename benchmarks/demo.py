"""The demo over several seeds: what it reaches, and the machine. Prints one JSON object as its last line.

`python -m benchmarks.demo --seeds 0 1 2 3 4` (about four minutes a seed). Each seed is a run of `run.py demo`
with a state folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

RUN = Path(__file__).parent.parent / "run.py"


def reached(summary: dict[str, Any]) -> dict[str, bool]:
    """Return, for each number that the demo must reach, whether one run did."""
    return {
        "follow_rate_before": summary["follow_rate_before"] <= 0.1,
        "follow_rate_after": summary["follow_rate_after"] >= 0.9 and summary["held_out_prompts"] >= 40,
        "train_seconds": summary["train_seconds"] <= 60,
        "leak_after": summary["leak_after"] <= 0.05,
        "facts": abs(summary["facts_after"] - summary["facts_before"]) <= 0.02,
        "nll": summary["nll_after"] <= 1.02 * summary["nll_before"],
        "total_seconds": summary["total_seconds"] <= 360,
        "requests_failed": summary["requests_failed"] == 0,
        "replay_share": summary["replay_share"] == 0.25,
        "poison": summary["poisoned_detected"] and summary["restored_bit_for_bit"],
        "poisoned_seconds": summary["poisoned_seconds"] <= 60,
    }


def run_once(seed: int, home: Path) -> dict[str, Any]:
    """Run the demo with one seed and return its summary; its talk goes to stderr."""
    environment = {**os.environ, "HEEDLOOP_HOME": str(home)}
    command = [sys.executable, str(RUN), "demo", "--seed", str(seed)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    summary: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return summary


def main() -> None:
    """Run every seed, print a line for each, and the whole as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    seeds = parser.parse_args().seeds
    runs = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as home:
            summary = run_once(seed, Path(home))
        missed = [name for name, ok in reached(summary).items() if not ok]
        sys.stderr.write(f"seed {seed}: {'all reached' if not missed else 'missed ' + ', '.join(missed)}\n")
        runs.append({**summary, "missed": missed})
    numbers = ("follow_rate_after", "leak_after", "train_seconds", "total_seconds", "poisoned_seconds")
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, no GPU used",
                "seeds_all_reached": sum(not run["missed"] for run in runs),
                "seeds": len(runs),
                "median": {name: median(run[name] for run in runs) for name in numbers},
                "runs": runs,
            }
        )
    )


if __name__ == "__main__":
    main()
