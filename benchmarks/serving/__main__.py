"""What live weights cost the clients of a server. Prints tables, then one JSON object as its last line.

`python -m benchmarks.serving --json` (about half an hour on two quiet cores; `--quick` about eight minutes;
`--soak 600` adds ten minutes of load with a write after every step). A live and a stock server of the same
build and the same flags run side by side and answer in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.serving import conditions, peers, publishing, soak, throughput
from benchmarks.serving.process import writing
from benchmarks.serving.servers import running
from learner.base_model import resolve_model


def say(line: str) -> None:
    """Tell of progress."""
    sys.stderr.write(line + "\n")


def measure(model_dir: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run every part and return the object that is printed."""
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} CPUs"}
    with running(model_dir, folder / "live", live=True) as live:
        say("live server ready")
        if "throughput" in arguments.parts:
            with running(model_dir, folder / "stock", live=False) as stock:
                found |= _ratios(throughput.compare(live, stock, arguments.rounds, say))
        with writing(model_dir, live.arena) as writer:
            if "publish" in arguments.parts:
                found["publish_ms"] = publishing.publish_times(writer, 15)
                found |= publishing.step_to_token(live, writer, 8)
            if "load" in arguments.parts:
                found |= asyncio.run(conditions.compare(live, writer, arguments.stretches, say))
            if arguments.soak:
                found["soak"] = asyncio.run(soak.run(live, writer, arguments.soak, say))
    if "peers" in arguments.parts:
        ways = {"lora_swap": peers.lora_swap_ms, "reload": peers.reload_ms, "restart": peers.restart_ms}
        found["peers"] = {f"{name}_ms": way(model_dir, folder) for name, way in ways.items()}
    return found


def _ratios(speeds: dict[str, Any]) -> dict[str, Any]:
    prefill = speeds.pop("prefill")
    return {
        "throughput_ratio": {batch: found["ratio"] for batch, found in speeds.items()},
        "prefill_ratio": prefill["ratio"],
        "throughput": {**speeds, "prefill": prefill},
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="`smollm2` or a checkpoint folder")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS")
    everything = ["throughput", "publish", "load", "peers"]
    parser.add_argument("--parts", nargs="*", default=everything, choices=everything)
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    arguments.rounds, arguments.stretches = (5, 2) if arguments.quick else (24, 6)
    model_dir = resolve_model(arguments.model, lambda what, share: say(f"{what} {share:.0%}"))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(model_dir, Path(folder), arguments)
    for name, value in found.items():
        say(f"{name:>20}: {json.dumps(value)}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
