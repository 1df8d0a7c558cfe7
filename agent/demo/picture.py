"""The demo's picture: follow-rate while training, general probes, request latency, on one time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.demo.board import Sample
from agent.demo.client import Answer

_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "#888888"


def draw(
    path: Path,
    samples: Sequence[Sample],
    probes: Sequence[dict[str, Any]],
    requests: Sequence[Answer],
    acts: Sequence[tuple[str, float, float]],
    began: float,
) -> None:
    """Write the PNG.

    `probes` are runs with `created` (ms), `verdict`, `values` and `change`; `acts` are (name, from, to).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(10, 9), sharex=True, layout="constrained")
    _follow(top, samples)
    _probes(middle, probes, began)
    _latency(bottom, requests, began)
    for axis in (top, middle, bottom):
        for index, (_, start, end) in enumerate(acts):
            axis.axvspan(start, end, color=_GREY, alpha=0.06 if index % 2 else 0.14, lw=0)
    for name, start, end in acts:
        top.text((start + end) / 2, 1.06, name, ha="center", fontsize=8, color=_GREY)
    figure.suptitle("heedloop demo: ten corrections, then ten false ones, while the server goes on serving")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _follow(axis: Any, samples: Sequence[Sample]) -> None:
    followed = [(s.second, s.follow) for s in samples if s.follow is not None]
    leaked = [(s.second, s.leak) for s in samples if s.leak is not None]
    axis.plot(*zip(*followed, strict=True), "o-", color=_BLUE, label="follows the direction (held out)")
    axis.plot(*zip(*leaked, strict=True), "s--", color=_RED, label="does so unasked (leak)")
    axis.set(ylabel="share of answers", ylim=(-0.03, 1.14))
    axis.legend(loc="center right")


def _probes(axis: Any, probes: Sequence[dict[str, Any]], began: float) -> None:
    seconds = [probe["created"] / 1000 - began for probe in probes]
    base = next((p["values"]["nll"] for p in probes if p["verdict"] == "baseline"), 1.0)
    lines = {
        "facts right, change": [p["change"]["facts"] for p in probes],
        "general NLL, relative change": [p["change"]["nll"] / base for p in probes],
        "KL to base, nats a token": [p["values"]["kl"] for p in probes],
        "the same in the agent's own contexts": [p["values"].get("leak", math.nan) for p in probes],
    }
    for (label, values), style in zip(lines.items(), ("o-", "s-", "^-", "v-"), strict=True):
        axis.plot(seconds, values, style, label=label)
    for second, probe in zip(seconds, probes, strict=True):
        if probe["verdict"] == "breach":
            axis.axvline(second, color=_RED, lw=1)
            axis.annotate("rolled back ", (second, axis.get_ylim()[1]), ha="right", va="top", color=_RED)
    axis.set(ylabel="probes on the live weights")
    axis.legend(loc="upper left")


def _latency(axis: Any, requests: Sequence[Answer], began: float) -> None:
    answered = [request for request in requests if not request.failure and request.tokens]
    seconds = [request.began - began for request in answered]
    axis.plot(seconds, [1000 * r.seconds / r.tokens for r in answered], ".", color=_GREY, ms=4)
    for request in requests:
        if request.failure:
            axis.axvline(request.began - began, color=_RED, lw=1)
    axis.set(xlabel="seconds since the start", ylabel="ms a token, background client")
    axis.set_ylim(bottom=0)
