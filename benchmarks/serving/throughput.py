"""Tokens per second of two servers on the same prompts, round by round in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median

import httpx

from benchmarks.serving.servers import NAME, Server

BATCHES = {1: 48, 8: 24, 32: 12}
"""Prompts at once, and the tokens that each of them gets."""
PREFILL = 768
_PROMPT = 16
_TOKENS = range(1000, 20000)
_RESAMPLES = 4000


def compare(
    live: Server, stock: Server, rounds: int, say: Callable[[str], None]
) -> dict[str, dict[str, float | list[float]]]:
    """Return for each batch size, and for prefill, what the ratios live / stock of all rounds tell."""
    speeds: dict[str, dict[str, list[float]]] = {}
    with httpx.Client(timeout=300, trust_env=False) as client:
        for number in range(-1, rounds):
            both = [("live", live), ("stock", stock)]
            for name, server in both if number % 2 else reversed(both):
                for kind, speed in _round(client, server.url, number).items():
                    if number >= 0:  # the first round warms both up
                        speeds.setdefault(kind, {}).setdefault(name, []).append(speed)
            if number >= 0:
                say(f"throughput round {number + 1} of {rounds}")
    return {kind: _summary(found["live"], found["stock"]) for kind, found in speeds.items()}


def _round(client: httpx.Client, url: str, seed: int) -> dict[str, float]:
    drawn = random.Random(seed)
    found = {}
    for batch, tokens in BATCHES.items():
        prompts = [drawn.choices(_TOKENS, k=_PROMPT) for _ in range(batch)]
        found[str(batch)] = batch * tokens / _seconds(client, url, prompts, tokens)
    found["prefill"] = PREFILL / _seconds(client, url, [drawn.choices(_TOKENS, k=PREFILL)], 1)
    return found


def _seconds(client: httpx.Client, url: str, prompts: list[list[int]], tokens: int) -> float:
    body = {"model": NAME, "prompt": prompts, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    began = time.monotonic()
    reply = client.post(f"{url}/v1/completions", json=body).raise_for_status().json()
    seconds = time.monotonic() - began
    assert reply["usage"]["completion_tokens"] == len(prompts) * tokens, reply["usage"]
    return seconds


def _summary(live: list[float], stock: list[float]) -> dict[str, float | list[float]]:
    ratios = [one / other for one, other in zip(live, stock, strict=True)]
    return {
        "ratio": round(median(ratios), 4),
        "lower_95": round(lower_bound(ratios), 4),
        "live_tokens_per_s": round(median(live), 1),
        "stock_tokens_per_s": round(median(stock), 1),
        "n": len(ratios),
    }


def lower_bound(values: list[float], share: float = 0.05) -> float:
    """Return the lower 95 % bound of the median, by resampling (one-sided, seed 0)."""
    drawn = random.Random(0)
    medians = sorted(median(drawn.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(share * _RESAMPLES)]
