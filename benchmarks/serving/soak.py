"""Minutes of load with a write after every step: nothing fails, nothing grows, the text stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

from benchmarks.serving.load import Seen, closed_loop
from benchmarks.serving.process import WriterProcess
from benchmarks.serving.servers import Server, resident_bytes

CLIENTS = 4
_FROZEN_S, _WRITTEN_S = 10.0, 50.0


async def run(
    server: Server, writer: WriterProcess, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return failures, growth, and the mean log-probability beside that of frozen weights.

    The bytes written are those that are served already, so the same prompts must get answers as likely.
    """
    parts = max(2, round(seconds / (_FROZEN_S + _WRITTEN_S)))
    await closed_loop(server.url, CLIENTS, _FROZEN_S, 0)
    before = resident_bytes(server.pid)
    written, frozen, steps = [], [], 0
    for number in range(parts):
        frozen.append(await closed_loop(server.url, CLIENTS, _FROZEN_S, number, log_probs=True))
        writer.start("rewrite")
        written.append(await closed_loop(server.url, CLIENTS, _WRITTEN_S, number, log_probs=True))
        steps += writer.stop()["steps"]
        say(f"soak part {number + 1} of {parts}")
    return {
        "writes": steps,
        "failed": sum(seen.failed for seen in written),
        "invalid_text": sum(seen.invalid for seen in written),
        "requests": sum(len(seen.first) for seen in written),
        "memory_growth": round(resident_bytes(server.pid) / before - 1, 4),
        "log_prob": {"written": _mean(written), "frozen": _mean(frozen), "noise": _noise(frozen)},
    }


def _mean(parts: list[Seen]) -> float:
    return round(fmean(value for seen in parts for value in seen.log_probs), 4)


def _noise(parts: list[Seen]) -> float:
    """Standard error of a mean over the parts."""
    means = [fmean(seen.log_probs) for seen in parts]
    return round(stdev(means) / len(means) ** 0.5, 4)
