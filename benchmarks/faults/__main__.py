"""Faults in a real running system under load. Prints one line a round on stderr, then one JSON object.

`python -m benchmarks.faults --json` runs 60 rounds in about 40 minutes on two quiet cores: `run.py up` with
vLLM on a tiny model, mosquitto behind a proxy, an agent that publishes turns and corrections, two clients
that chat. Each round is drawn from (seed, number), does one fault, waits for the way back, lets everything
come to rest and counts. It may be interrupted at any time: the same command goes on behind the last finished
round. The exit code is 1 when anything was lost, duplicated, wedged, different or inconsistent, when the
proof of a fault does not show that it happened (`unproven`), when `up` itself ended by a fault that does not
end it (`up_died`), or when a round was later than stated (`late`; with a patience above 1 that is only told).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults import broker_faults, learning_faults, process_faults, room, round, storage_faults
from benchmarks.faults.broker import Mosquitto
from benchmarks.faults.load import Load
from benchmarks.faults.model import tiny_llama
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.report import COUNTED, is_good, passed, summary
from benchmarks.faults.stage import Fault, Stage
from benchmarks.faults.system import System
from learner.temporary_server import free_port

FAULTS = (*process_faults.FAULTS, *broker_faults.FAULTS, *storage_faults.FAULTS, *learning_faults.FAULTS)
_START_S = 180.0
_JOURNAL = "judged-2"
"""Another name where lines say more than they did: older ones are not gone on with."""
_EMBEDDED_SHARE = 0.1
"""The last rounds are those with the embedded broker: it costs a start of everything to change."""


def say(line: str) -> None:
    """Tell of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def plan(rounds: int, seed: int, only: list[str]) -> list[Fault]:
    """Return the fault of each round: every kind before any comes again, each time in another order."""
    drawn = random.Random(seed)
    kinds = {
        kind: [one for one in FAULTS if _fits(one, kind) and (not only or one.name in only)]
        for kind in ("mosquitto", "embedded")
    }
    share = _EMBEDDED_SHARE if all(kinds.values()) else float(bool(kinds["embedded"]))
    counts = {"embedded": round_half_up(rounds * share)}
    counts["mosquitto"] = rounds - counts["embedded"]
    chosen: list[Fault] = []
    for kind, faults in kinds.items():
        own: list[Fault] = []
        while faults and len(own) < counts[kind]:
            own += drawn.sample(faults, len(faults))
        chosen += own[: counts[kind]]
    return chosen


def round_half_up(value: float) -> int:
    """Return the nearest whole number."""
    return int(value + 0.5)


def _fits(fault: Fault, broker: str) -> bool:
    return fault.needs == broker or (not fault.needs and broker == "mosquitto")


def run(faults: list[Fault], number: int, journal: Path, seed: int, patience: float) -> None:
    """Run the rounds from `number` on, each a line of the journal."""
    while number < len(faults):
        embedded = faults[number].needs == "embedded"
        with staged(journal.parent, embedded, seed + number, patience) as stage:
            while number < len(faults) and (faults[number].needs == "embedded") == embedded:
                began = time.monotonic()
                stage.random.seed(f"{seed}/{number}")
                line = {"round": number, **round.run(faults[number], stage, patience)}
                line["round_s"] = round_to_tenth(time.monotonic() - began)
                with journal.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                _tell(line, len(faults))
                number += 1
                if line["wedged"] or line["lost"] or line["weights_mismatch"]:
                    break  # a fresh start for the next one: no fault may hide another


def round_to_tenth(seconds: float) -> float:
    """Return seconds with one decimal."""
    return float(f"{seconds:.1f}")


def _tell(line: dict[str, Any], rounds: int) -> None:
    told = (*COUNTED, "in_time", "findings", "detail")
    wrong = {name: line[name] for name in told}
    say(
        f"{line['round'] + 1:>3}/{rounds} {line['fault']:<26} back after {line['recovery_s']:>6.1f} s,"
        f" round {line['round_s']:>5.1f} s  {'ok' if is_good(line) else f'BAD {wrong}'} {line['proof']}"
    )


@contextmanager
def staged(notes: Path, embedded: bool, seed: int, patience: float) -> Iterator[Stage]:
    """Start everything, and end it."""
    for left in room.HOME.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    work = notes / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    broker = None if embedded else Mosquitto(work / "mosquitto", free_port())
    proxy = None
    if broker is not None:
        broker.start()
        proxy = Proxy(free_port(), broker.port)
    url = None if proxy is None else f"mqtt://127.0.0.1:{proxy.port}"
    log = work / "agent.jsonl"
    log.touch()
    system = System(room.HOME / "home", notes / "model", url, log, work)
    system.start()
    load = None
    try:
        if (
            not round.until(lambda: system.is_ready() or bool(system.ended), patience * _START_S)
            or system.ended
        ):
            raise SystemExit(f"the system did not start: {system.ended or system.output}")
        address = url or system.known("broker_url")
        load = Load(lambda: address, work / "spool", log, seed)
        serving = system.known("serving")
        load.server = (serving["url"], serving["model_name"])
        for number in range(8):
            load.say(correct=number == 7)
        stage = Stage(system, load, broker, proxy, random.Random(seed))
        if not round.settle(stage, patience * _START_S):
            raise SystemExit(f"the system did not learn: see {system.output}")
        say(f"system ready ({'embedded broker' if embedded else 'mosquitto'})")
        yield stage
    finally:
        if load is not None:
            load.close()
        system.stop()
        if (system.home / "logs").is_dir():
            shutil.copytree(system.home / "logs", work / "logs", dirs_exist_ok=True)
        if broker is not None:
            broker.kill()


def main() -> None:
    """Parse the arguments, run what is left to do, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=1.0, help="more on a machine that is not quiet")
    parser.add_argument("--only", nargs="*", default=[], help="these faults alone, by name")
    parser.add_argument("--folder", type=Path, default=Path("build/faults"), help="journal, logs, model")
    parser.add_argument("--fresh", action="store_true", help="forget the rounds of an interrupted run")
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    room.enter("benchmarks.faults", sys.argv[1:])
    arguments.folder = arguments.folder.absolute()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    faults = plan(arguments.rounds, arguments.seed, arguments.only)
    drawn = "-".join([str(arguments.seed), str(arguments.rounds), *arguments.only])
    journal = arguments.folder / f"{_JOURNAL}-{drawn}.jsonl"
    if arguments.fresh:
        journal.unlink(missing_ok=True)
    if not (arguments.folder / "model" / "config.json").exists():
        from learner.base_model import resolve_model

        tokenizer_of = resolve_model("smollm2", lambda what, part: say(f"{what} {part:.0%}"))
        tiny_llama(tokenizer_of, arguments.folder / "model")
    done = len(journal.read_text().splitlines()) if journal.exists() else 0
    run(faults, done, journal, arguments.seed, arguments.patience)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    found = summary(lines, arguments.patience)
    print(json.dumps({**found, "machine": f"{platform.machine()}, {os.cpu_count()} CPUs"}))
    sys.exit(0 if passed(found) else 1)


if __name__ == "__main__":
    main()
