"""From the optimizer's step to a token that was computed with it: publish time, and what a client sees."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import httpx

from benchmarks.serving.process import WriterProcess
from benchmarks.serving.servers import NAME, Server

PROMPT = "The capital of France is Paris. The capital of Italy is Rome. The capital of"
SHARES = {"full": 1.0, "changed": 0.1}
_BEFORE = 8
"""Tokens that a client has got when the write begins."""


def publish_times(writer: WriterProcess, rounds: int) -> dict[str, dict[str, float]]:
    """Return median milliseconds and bytes of writing all tensors and every tenth, rounding included."""
    found = {}
    for name, share in SHARES.items():
        writer.ask(f"publish {share}")
        runs = [writer.ask(f"publish {share}") for _ in range(rounds)]
        times = [run["ms"] for run in runs]
        found[name] = {
            "ms": round(median(times), 1),
            "least_ms": round(min(times), 1),
            "bytes": runs[0]["bytes"],
            "tensors": runs[0]["tensors"],
            "n": rounds,
        }
    return found


def step_to_token(server: Server, writer: WriterProcess, rounds: int) -> dict[str, Any]:
    """Return medians (ms) from the start of a write to the first token a client gets that shows it.

    A stream runs; the tensors of a training step (then: all) are written, one of them so that every next
    token is another.
    """
    step = _to_token(server, writer, "step", rounds)
    return {
        "step_to_token_ms": step["to_token_ms"],
        "step_to_token": step | {"n": rounds},
        "all_to_token": _to_token(server, writer, "all", rounds) | {"n": rounds},
    }


def _to_token(server: Server, writer: WriterProcess, which: str, rounds: int) -> dict[str, float]:
    runs = [_one(server, writer, which) for _ in range(rounds + 1)][1:]  # the first warms up
    return {name: round(median(run[name] for run in runs), 2) for name in runs[0]}


def _one(server: Server, writer: WriterProcess, which: str) -> dict[str, float]:
    expected = [text for _, text in _stream(server, 64)]
    written: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: written.update(writer.ask(f"turn {which}")))
    changed_at, arrivals = None, []
    for place, (arrived, text) in enumerate(_stream(server, 64)):
        arrivals.append(arrived)
        if place == _BEFORE:
            thread.start()
        if changed_at is None and text != expected[place]:
            changed_at = arrived
    thread.join()
    writer.ask("restore")
    if changed_at is None:
        raise RuntimeError("the write was not seen by the stream under way")
    to_token = 1e3 * (changed_at - written["began"])
    publish = 1e3 * (written["ended"] - written["began"])
    token = 1e3 * median(later - earlier for earlier, later in pairwise(arrivals[:_BEFORE]))
    return {
        "to_token_ms": to_token,
        "publish_ms": publish,
        "token_ms": token,
        "tokens_after_publish": (to_token - publish) / token,
    }


def _stream(server: Server, tokens: int) -> Iterator[tuple[float, str]]:
    body = {"model": NAME, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    body |= {"stream": True, "return_token_ids": True}
    with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                yield (
                    time.monotonic(),
                    json.dumps(json.loads(line[len("data: ") :])["choices"][0]["token_ids"]),
                )
