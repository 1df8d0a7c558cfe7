"""The same load with the learner away, idle and training, and with a busy loop in its place, in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from benchmarks.serving.load import Seen, closed_loop, open_loop
from benchmarks.serving.process import WriterProcess, busy
from benchmarks.serving.servers import Server

CLIENTS = 4
STRETCH_S = 12.0
SHARE_OF_CAPACITY = 0.6
"""How much of what the closed loop reached the open loop asks for."""
_ANSWER_TOKENS = 48


class _Training:
    """The learner trains for the time of the block; its steps are counted."""

    def __init__(self, writer: WriterProcess) -> None:
        self._writer, self.steps, self.seconds = writer, 0, 0.0

    def __enter__(self) -> None:
        self._writer.start("train")

    def __exit__(self, *error: object) -> None:
        said = self._writer.stop()
        self.steps += said["steps"]
        self.seconds += said["seconds"]

    @property
    def speed(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds


async def compare(
    server: Server, writer: WriterProcess, stretches: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return what clients saw in each condition, and the ratios to the learner being idle."""
    beside, alone = _Training(writer), _Training(writer)
    blocks: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "idle": nullcontext,
        "training": lambda: beside,
        "control": busy,
    }
    closed = {name: Seen() for name in blocks}
    opened = {name: Seen() for name in blocks}
    await closed_loop(server.url, CLIENTS, STRETCH_S, seed=-1)
    for number in range(stretches):
        async for name in _in_turn(list(blocks), number):
            with blocks[name]():
                closed[name].add(await closed_loop(server.url, CLIENTS, STRETCH_S, number))
        rate = SHARE_OF_CAPACITY * closed["idle"].summary()["tokens_per_s"] / _ANSWER_TOKENS
        async for name in _in_turn(list(blocks), number):
            with blocks[name]():
                opened[name].add(await open_loop(server.url, rate, STRETCH_S, number))
        with alone:
            await asyncio.sleep(STRETCH_S)
        say(f"load stretch {number + 1} of {stretches}")
    return _result(closed, opened, beside.speed / alone.speed)


async def _in_turn(names: list[str], number: int) -> AsyncIterator[str]:
    """Yield the names, begun with another one each time, so that no condition always comes first."""
    first = number % len(names)
    for name in names[first:] + names[:first]:
        yield name


def _result(closed: dict[str, Seen], opened: dict[str, Seen], speed_ratio: float) -> dict[str, Any]:
    loops = {"closed": closed, "open": opened}
    seen = {loop: {name: s.summary() for name, s in found.items()} for loop, found in loops.items()}
    idle, training, control = (seen["closed"][name] for name in ("idle", "training", "control"))
    return {
        "training": {
            "failed": sum(found["training"].failed for found in loops.values()),
            "tokens_ratio": round(training["tokens_per_s"] / idle["tokens_per_s"], 4),
            "p50_ratio": round(training["gap_ms_p50"] / idle["gap_ms_p50"], 3),
            "p99_ratio": round(training["gap_ms_p99"] / idle["gap_ms_p99"], 3),
            "first_p50_ratio": round(training["first_ms_p50"] / idle["first_ms_p50"], 3),
            "first_p99_ratio": round(training["first_ms_p99"] / idle["first_ms_p99"], 3),
            "longest_gap_ms": training["longest_gap_ms"],
            "learner_speed_ratio": round(speed_ratio, 3),
            "control_p99_ratio": round(control["gap_ms_p99"] / idle["gap_ms_p99"], 3),
            "control_tokens_ratio": round(control["tokens_per_s"] / idle["tokens_per_s"], 4),
        },
        "load": seen,
    }
