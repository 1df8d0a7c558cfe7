"""What policies of the prefix cache are worth in a chat, with and without writes. Last line: a JSON object.

`python -m benchmarks.prefix_cache --json`: conversations of four turns that share a system turn of about 1400
tokens, one request at a time. `none` gives each request a salt of its own, which is as good as no cache. The
policy is a word of the control page, so all are measured in one server, in turn.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any

import httpx

from benchmarks.serving.servers import NAME, running
from learner.base_model import resolve_model
from learner.live.client import LiveWeights
from learner.live.control import map_page
from learner.live.load import LoadWords

POLICIES = ("none", "salt", "bounded", "off")
TURNS, SHARED, TURN = 4, 1400, 100
EVERY_S = 1.0


def measure(url: str, arena: Path, conversations: int) -> dict[str, Any]:
    """Return time to first token and hit rate of each policy, without writes and with one a second."""
    load = LoadWords(map_page(arena, write=True))
    rows: dict[str, list[tuple[float, int, int]]] = {}
    for number in range(conversations):
        for every_s in (None, EVERY_S):
            for policy in POLICIES:
                load.say_cache("salt" if policy == "none" else policy)
                with _writes(arena, every_s):
                    name = f"{policy}, {'no writes' if every_s is None else 'a write a second'}"
                    rows.setdefault(name, []).extend(_converse(url, load, number, policy))
        print(f"conversation {number + 1} of {conversations}", file=sys.stderr)
    return {name: _summary(found) for name, found in rows.items()}


def _converse(url: str, load: LoadWords, number: int, policy: str) -> Iterator[tuple[float, int, int]]:
    """Yield seconds to the first token, tokens looked up and found, of each turn of a conversation."""
    shared, own = random.Random(0), random.Random(number)
    prompt = shared.choices(range(1000, 20000), k=SHARED)
    for _ in range(TURNS):
        prompt += own.choices(range(1000, 20000), k=TURN)
        body: dict[str, Any] = {"model": NAME, "prompt": prompt, "max_tokens": 8, "temperature": 0}
        if policy == "none":
            body["cache_salt"] = random.randbytes(8).hex()
        queried, found = load.lookups
        began = time.monotonic()
        with httpx.stream("POST", f"{url}/v1/completions", json=body | {"stream": True}, timeout=60) as reply:
            lines = reply.iter_lines()
            next(line for line in lines if line.startswith("data: {"))
            first = time.monotonic() - began
            for _ in lines:
                pass
        yield first, load.lookups[0] - queried, load.lookups[1] - found


@contextmanager
def _writes(arena: Path, every_s: float | None) -> Iterator[None]:
    """Publish a step each `every_s` for the time of the block; the bytes stay what they are."""
    if every_s is None:
        yield
        return
    live, done = LiveWeights.attach(arena), threading.Event()
    name = next(name for name in live.names if name.endswith("norm.weight"))
    value, interval = live.read(name), every_s

    def write() -> None:
        while not done.wait(interval):
            at = live.position()
            with live.publishing(at.version, at.step + 1):
                live.write(name, value)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        live.close()


def _summary(rows: list[tuple[float, int, int]]) -> dict[str, float]:
    return {
        "requests": len(rows),
        "first_ms_median": round(1e3 * median(first for first, _, _ in rows), 1),
        "first_ms_mean": round(1e3 * mean(first for first, _, _ in rows), 1),
        "hit_rate": round(sum(found for _, _, found in rows) / sum(asked for _, asked, _ in rows), 3),
    }


def main() -> None:
    """Run it and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="print nothing but the last line on stdout")
    arguments = parser.parse_args()
    model_dir = resolve_model("smollm2", lambda *_: None)
    with tempfile.TemporaryDirectory() as folder, running(model_dir, Path(folder), live=True) as server:
        result = measure(server.url, server.arena, arguments.conversations)
    if not arguments.json:
        for name, row in result.items():
            print(f"{name:28}", row)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
