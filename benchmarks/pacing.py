"""Serving beside the learner: away, paced, and unpaced, in turn. Last line: one JSON object.

`python -m benchmarks.pacing --stretches 10 --json`: a live server of the embedded model under a closed loop
of clients; `learner_speed_ratio` is the learner's steps per second beside them over that alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.load import Seen, closed_loop
from benchmarks.serving.process import WriterProcess, writing
from benchmarks.serving.servers import running
from learner.base_model import resolve_model

CONDITIONS = ("idle", "train", "hurry")
CLIENTS = 4


def measure(writer: WriterProcess, url: str, stretches: int, seconds: float) -> dict[str, Any]:
    """Return what clients and learner got in each condition; the order turns with each stretch."""
    seen: dict[str, list[Seen]] = {name: [] for name in CONDITIONS}
    steps: dict[str, list[float]] = {name: [] for name in (*CONDITIONS, "alone")}
    asyncio.run(closed_loop(url, CLIENTS, seconds, seed=-1))
    for number in range(stretches):
        turn = number % len(CONDITIONS)
        for name in CONDITIONS[turn:] + CONDITIONS[:turn]:
            if name != "idle":
                writer.start(name)
            seen[name].append(asyncio.run(closed_loop(url, CLIENTS, seconds, number)))
            if name != "idle":
                steps[name].append(_speed(writer.stop()))
        writer.start("hurry")
        time.sleep(seconds)
        steps["alone"].append(_speed(writer.stop()))
        print(f"stretch {number + 1} of {stretches}", file=sys.stderr)
    return {name: _ratios(name, seen, steps) for name in CONDITIONS[1:]}


def _speed(said: dict[str, Any]) -> float:
    return float(said["steps"]) / float(said["seconds"])


def _ratios(name: str, seen: dict[str, list[Seen]], steps: dict[str, list[float]]) -> dict[str, Any]:
    pairs = list(zip(seen[name], seen["idle"], strict=True))
    tokens = [(s.tokens / s.seconds) / (i.tokens / i.seconds) for s, i in pairs]
    tails = [np.percentile(s.gaps, 99) / np.percentile(i.gaps, 99) for s, i in pairs]
    speed = float(np.mean(steps[name]) / np.mean(steps["alone"]))
    return {
        "n": len(pairs),
        "failed": sum(s.failed for s, _ in pairs),
        "tokens_ratio": _interval(tokens),
        "p99_ratio": _interval(tails),
        "learner_speed_ratio": round(speed, 3),
    }


def _interval(values: list[Any]) -> dict[str, float]:
    """Median, and its 95 % interval by resampling."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return {"median": round(float(np.median(values)), 3), "low": round(low, 3), "high": round(high, 3)}


def main() -> None:
    """Run it and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stretches", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--json", action="store_true", help="print nothing but the last line on stdout")
    arguments = parser.parse_args()
    model_dir = resolve_model("smollm2", lambda *_: None)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(model_dir, Path(folder), live=True) as server,
        writing(model_dir, server.arena) as writer,
    ):
        result = measure(writer, server.url, arguments.stretches, arguments.seconds)
    if not arguments.json:
        for name, row in result.items():
            print(name, row)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
