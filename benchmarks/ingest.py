"""Events through a real broker into durable rows with decision points and labels. Last line: one JSON object.

`python -m benchmarks.ingest --json`: eight publisher processes send the turns of real agent logs, one message
each, to mosquitto; one loop process, on a core of its own, stores them. First as fast as they can, then at
half the speed that was reached (`--rate`: at another one), for the latency from the call of publish to the
commit that another process sees: the turn's row with the labels that it makes. Then every event is looked
for in the store. A busy machine takes time from the loop: `events_per_cpu_s` is what one whole core gives.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

import paho.mqtt.client as mqtt
import psutil

from agent.reading import read_file
from learner.temporary_server import free_port
from policies.topics import topic
from policies.turn import Turn
from store import counters
from store.clock import now_ms
from store.database import Store, open_read_only, open_store

WAIT_S = 600.0
LOOK_S = 0.002
"""How often the store is looked at: what a latency may be too long by."""
WINDOW = 20
"""Messages of one publisher that are under way at a time: paho's own default."""
SETTINGS = (
    "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages {window}\n"
)


@dataclass(frozen=True)
class Phase:
    """What one run of all publishers gave. Times are of CLOCK_MONOTONIC, the same in every process."""

    files: tuple[Path, ...]
    published: dict[str, float]
    seen: tuple[tuple[float, int], ...]
    cpu_s: float

    @property
    def seconds(self) -> float:
        """Return the time from the first publish to the last commit."""
        return self.seen[-1][0] - min(self.published.values())


class Bench:
    """A broker, a loop and its store, for the time of one benchmark."""

    def __init__(self, folder: Path, port: int, loop: psutil.Process, publishers: int) -> None:
        self.port = port
        self.store = open_read_only(folder)
        self._folder = folder
        self._loop = loop
        self._publishers = publishers

    def run(self, conversations: list[list[Turn]], name: str, events: int, rate: float) -> Phase:
        """Publish `events` turns at `rate` a second in all (0: at full speed), until they are stored."""
        files = tuple(self._folder / f"{name}{number}.jsonl" for number in range(self._publishers))
        for number, file in enumerate(files):
            lines = payloads(conversations[number :: len(files)], file.stem, events // len(files))
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        expected = self._last() + events // len(files) * len(files)
        running = [self._publisher(file, rate / len(files)) for file in files]
        for one in running:
            _say(one, "ready")
        before = _cpu(self._loop)
        for one in running:
            _say(one, "go")
        seen = tuple(self._watch(expected))
        spent = _cpu(self._loop) - before
        published: dict[str, float] = {}
        for one in running:
            published |= json.loads(one.communicate()[0])
        return Phase(files, published, seen, spent)

    def _publisher(self, file: Path, rate: float) -> subprocess.Popen[bytes]:
        arguments = ["--publish", str(file), "--port", str(self.port), "--rate", str(rate)]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _watch(self, expected: int) -> Iterator[tuple[float, int]]:
        """Look at the store until it holds what is expected; yield when which was the last row."""
        deadline, last = time.monotonic() + WAIT_S, self._last()
        while last < expected and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            now = self._last()
            if now > last:
                last = now
                yield time.monotonic(), last

    def _last(self) -> int:
        return int(self.store.rows("SELECT ifnull(max(seq), 0) FROM events")[0][0])


def real_turns(data: Path) -> list[list[Turn]]:
    """Return the conversations of the real logs that can be read."""
    conversations: dict[str, list[Turn]] = {}
    for path in sorted(data.rglob("*")):
        if path.suffix in (".json", ".jsonl", ".traj", ".yaml") and path.name != "expected_counts.json":
            for turn in read_file(path, now_ms()).turns:
                conversations.setdefault(turn.conversation_id, []).append(turn)
    if not conversations:
        raise SystemExit(f"no agent log can be read under {data}: name the folder with --data")
    return list(conversations.values())


def payloads(conversations: list[list[Turn]], mark: str, number: int) -> Iterator[dict[str, Any]]:
    """Yield `number` payloads: whole conversations in a drawn order, each time under new ids.

    Nobody says the same twice, and what was read before is remembered: said again, every text of a person or
    a model gets a last word of its own.
    """
    draw, left = random.Random(mark), number
    for again in count():
        for talk in draw.sample(conversations, len(conversations)):
            name = f"{mark}-{again}-{talk[0].conversation_id}"[:150]
            for place, turn in enumerate(talk[:left]):
                message = turn.message()
                if turn.role in ("user", "assistant") and turn.content:
                    message["content"] += f" {mark}{again}"
                yield {"event_id": f"{name}-{place}", "conversation_id": name, **message}
            left -= len(talk[:left])
            if left == 0:
                return


def publish(port: int, file: Path, rate: float) -> None:
    """Be one publisher: read payloads, say `ready`, wait for a word, publish, and print when which."""
    messages = [(json.loads(line)["event_id"], line) for line in file.read_bytes().splitlines()]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=file.stem)
    under_way = threading.Semaphore(WINDOW)
    client.on_publish = lambda *_: under_way.release()
    client.connect("127.0.0.1", port)
    client.loop_start()
    print("ready", flush=True)
    sys.stdin.readline()
    draw, due = random.Random(file.stem), time.monotonic()
    published: dict[str, float] = {}
    for event_id, payload in messages:
        if rate:
            due += draw.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
        under_way.acquire()
        published[event_id] = due if rate else time.monotonic()
        client.publish(topic(f"agent-{file.stem}", "turns"), payload, qos=1)
    for _ in range(WINDOW):
        under_way.acquire()
    client.loop_stop()
    print(json.dumps(published), flush=True)


def latencies(store: Store, phase: Phase, *, labelled: bool) -> list[float]:
    """Return the milliseconds from publish to visible; `labelled`: of the turns that are decisions only."""
    which = "WHERE event_id IN (SELECT turn_event_id FROM decisions)" if labelled else ""
    found, place = [], 0
    for seq, event_id in store.rows(f"SELECT seq, event_id FROM events {which} ORDER BY seq"):
        while place < len(phase.seen) and phase.seen[place][1] < seq:
            place += 1
        if event_id in phase.published and place < len(phase.seen):
            found.append(1000 * (phase.seen[place][0] - phase.published[event_id]))
    return found


def verified(store: Store, phases: list[Phase]) -> dict[str, int]:
    """Return how many events, decision points or labels are missing in the store, and how many too many."""
    sent = [json.loads(line) for phase in phases for file in phase.files for line in file.open("rb")]
    expected = {
        f"{turn['event_id']}#{call}"
        for turn in sent
        if turn["role"] == "assistant"
        for call in range(max(1, len(turn.get("tool_calls", ()))))
    }
    kept = [row[0] for row in store.rows("SELECT event_id FROM events")]
    made = {row[0] for row in store.rows("SELECT id FROM decisions")}
    labelled = {row[0] for row in store.rows("SELECT decision_id FROM labels")}
    return {
        "lost": len({turn["event_id"] for turn in sent} - set(kept)) + len(expected - (made & labelled)),
        "duplicated": len(kept) - len(sent) + len(made - expected),
        "events": len(sent),
        "decision_points": len(expected),
        "sent_again_by_broker": counters.read(store).get("turns_duplicate", 0),
    }


@contextmanager
def running(command: list[str], log: Path, cores: set[int], **environment: str) -> Iterator[psutil.Process]:
    """Run a child process on some cores for the time of the block."""
    with log.open("ab") as out:
        process = psutil.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    process.cpu_affinity(sorted(cores))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def bench(folder: Path, publishers: int, window: int) -> Iterator[Bench]:
    """Start broker and loop: the loop on the last core, everything else on the others."""
    *others, last = sorted(os.sched_getaffinity(0))
    rest = set(others) or {last}
    os.sched_setaffinity(0, rest)
    port = free_port()
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        raise SystemExit("mosquitto is not installed, and this benchmark needs it (apt install mosquitto)")
    (folder / "mosquitto.conf").write_text(SETTINGS.format(port=port, window=window))
    open_store(folder).close()
    log = folder / "loop.log"
    url = {"HEEDLOOP_HOME": str(folder), "HEEDLOOP_BUS__URL": f"mqtt://127.0.0.1:{port}"}
    with (
        running([mosquitto, "-c", str(folder / "mosquitto.conf")], folder / "mosquitto.log", rest),
        running([sys.executable, "-m", "agent"], log, {last}, **url) as loop,
    ):
        deadline = time.monotonic() + 60
        while "bus connected" not in log.read_text():
            if not loop.is_running() or time.monotonic() > deadline:
                raise SystemExit(f"the loop did not start: {log.read_text()}")
            time.sleep(0.05)
        yield Bench(folder, port, loop, publishers)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both phases and return every figure."""
    conversations = real_turns(arguments.data / "C")
    with (
        tempfile.TemporaryDirectory(prefix="heedloop-ingest-") as name,
        bench(Path(name), arguments.publishers, arguments.window) as ready,
    ):
        full = ready.run(conversations, "full", arguments.events, 0.0)
        reached = len(full.published) / full.seconds
        rate = arguments.rate or reached / 2
        half = ready.run(conversations, "half", int(rate * arguments.seconds), rate)
        waits = quantiles(latencies(ready.store, half, labelled=True), n=100)
        every = quantiles(latencies(ready.store, half, labelled=False), n=100)
        return {
            "events_per_s": round(reached),
            "events_per_cpu_s": round(len(full.published) / full.cpu_s),
            "half_load_events_per_s": round(len(half.published) / half.seconds),
            "p50_ms": round(waits[49], 1),
            "p99_ms": round(waits[98], 1),
            "p99_every_turn_ms": round(every[98], 1),
            "half_load_cpu_share": round(half.cpu_s / half.seconds, 2),
            **verified(ready.store, [full, half]),
            "conversations": len(conversations),
            "publishers": arguments.publishers,
            "broker_window": arguments.window,
            "load_average": round(os.getloadavg()[0], 1),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        }


def main() -> None:
    """Measure, and print the figures as JSON; with `--publish`, be one of the publishers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    parser.add_argument("--data", type=Path, default=os.environ.get("HEEDLOOP_DATA", "../shared/data"))
    parser.add_argument("--events", type=int, default=16_000, help="of the phase at full speed")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the phase at half load")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second of the second phase")
    parser.add_argument("--publishers", type=int, default=8)
    parser.add_argument("--window", type=int, default=20, help="mosquitto's max_inflight_messages")
    parser.add_argument("--publish", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.port, arguments.publish, arguments.rate)
    else:
        print(json.dumps(measure(arguments)))


def _say(publisher: subprocess.Popen[bytes], word: str) -> None:
    """Wait for the publisher's `ready`, or tell it to `go`."""
    assert publisher.stdout is not None
    assert publisher.stdin is not None
    if word == "ready":
        publisher.stdout.readline()
    else:
        publisher.stdin.write(b"go\n")
        publisher.stdin.flush()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
