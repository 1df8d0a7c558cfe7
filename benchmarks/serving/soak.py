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
    """Return failures, growth, and how much less likely answers are than with frozen weights.

    The bytes written are those that are served already, so the same prompts must get answers as likely;
    what frozen weights differ by when asked twice (other requests in the batch) is the noise.
    """
    parts = max(2, round(seconds / (2 * _FROZEN_S + _WRITTEN_S)))
    await closed_loop(server.url, CLIENTS, _FROZEN_S, 0)
    before = resident_bytes(server.pid)
    written, differences, noise, steps = [], [], [], 0
    for number in range(parts):
        one, other = [await closed_loop(server.url, CLIENTS, _FROZEN_S, number, True) for _ in range(2)]
        writer.start("rewrite")
        written.append(await closed_loop(server.url, CLIENTS, _WRITTEN_S, number, True))
        steps += writer.stop()["steps"]
        differences += _differences(written[-1], one)
        noise += _differences(other, one)
        say(f"soak part {number + 1} of {parts}")
    return {
        "writes": steps,
        "failed": sum(seen.failed for seen in written),
        "invalid_text": sum(seen.invalid for seen in written),
        "requests": sum(len(seen.first) for seen in written),
        "memory_growth": round(resident_bytes(server.pid) / before - 1, 4),
        "log_prob_difference": {"written": _mean(differences), "frozen_twice": _mean(noise)},
    }


def _differences(one: Seen, other: Seen) -> list[float]:
    """Log-probability of the answers to the same prompts, one less the other."""
    return [one.likely[number] - other.likely[number] for number in one.likely.keys() & other.likely.keys()]


def _mean(values: list[float]) -> dict[str, float]:
    """Mean, its standard error, and of how many."""
    error = stdev(values) / len(values) ** 0.5
    return {"mean": round(fmean(values), 5), "standard_error": round(error, 5), "n": len(values)}
