"""Clients that stream answers, and what they saw: first tokens, gaps, failures, text."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from benchmarks.serving.servers import NAME

_TOKENS = range(1000, 20000)
_PROMPT, _ANSWER = 48, 48
_TIMEOUT_S = 120.0


@dataclass
class Seen:
    """What clients saw in one stretch of time. Times in seconds.

    `likely`: mean log-probability of the answer to the n-th prompt, where that was asked for.
    """

    seconds: float = 0.0
    asked: int = 0
    failed: int = 0
    tokens: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    likely: dict[int, float] = field(default_factory=dict)
    invalid: int = 0

    def add(self, other: Seen) -> None:
        """Take the figures of another stretch of the same condition."""
        self.seconds += other.seconds
        self.failed += other.failed
        self.tokens += other.tokens
        self.invalid += other.invalid
        self.first += other.first
        self.gaps += other.gaps

    def summary(self) -> dict[str, float]:
        """Return rates and percentiles (ms)."""
        return {
            "requests": len(self.first),
            "failed": self.failed,
            "tokens_per_s": round(self.tokens / self.seconds, 2),
            **_percentiles("first_ms", self.first),
            **_percentiles("gap_ms", self.gaps),
            "longest_gap_ms": round(1e3 * max(self.gaps, default=0.0), 1),
        }


async def closed_loop(url: str, clients: int, seconds: float, seed: int, log_probs: bool = False) -> Seen:
    """`clients` ask without a pause for so many seconds; what is under way at the end is finished."""
    seen, ends = Seen(), time.monotonic() + seconds
    drawn = random.Random(seed)

    async def one(client: httpx.AsyncClient) -> None:
        while time.monotonic() < ends:
            await _ask(client, url, drawn, seen, log_probs)

    began = time.monotonic()
    async with _client() as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    seen.seconds = time.monotonic() - began
    return seen


async def open_loop(url: str, per_second: float, seconds: float, seed: int) -> Seen:
    """Requests come at random times (Poisson), whether or not the ones before are answered."""
    seen, drawn = Seen(), random.Random(seed)
    began = time.monotonic()
    async with _client() as client, asyncio.TaskGroup() as group:
        while time.monotonic() - began < seconds:
            group.create_task(_ask(client, url, drawn, seen, False))
            await asyncio.sleep(drawn.expovariate(per_second))
    seen.seconds = time.monotonic() - began
    return seen


async def _ask(
    client: httpx.AsyncClient, url: str, drawn: random.Random, seen: Seen, log_probs: bool
) -> None:
    number, found = seen.asked, list[float]()
    seen.asked += 1
    body: dict[str, Any] = {"model": NAME, "prompt": drawn.choices(_TOKENS, k=_PROMPT), "stream": True}
    body |= {"max_tokens": _ANSWER, "temperature": 0, "ignore_eos": True}
    if log_probs:
        body["logprobs"] = 0
    last = began = time.monotonic()
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                now = time.monotonic()
                (seen.first if last == began else seen.gaps).append(now - last)
                last = now
                seen.tokens += 1
                if log_probs:
                    found += _read(line, seen)
    except (httpx.HTTPError, json.JSONDecodeError):
        seen.failed += 1
    if len(found) == _ANSWER:
        seen.likely[number] = sum(found) / len(found)


def _read(line: str, seen: Seen) -> list[float]:
    choice = json.loads(line[len("data: ") :])["choices"][0]
    try:
        choice["text"].encode("utf-8")
    except UnicodeEncodeError:
        seen.invalid += 1
    return [value for value in choice["logprobs"]["token_logprobs"] if value is not None]


def _client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=256)
    return httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits, trust_env=False)


def _percentiles(name: str, values: Iterable[float]) -> dict[str, float]:
    found = np.percentile([1e3 * value for value in values] or [0.0], (50, 99))
    return {f"{name}_p50": round(float(found[0]), 2), f"{name}_p99": round(float(found[1]), 2)}
