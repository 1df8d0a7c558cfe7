"""Pictures of the experiment `mechanisms`, from its data alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from learner.experiments.intervals import Interval, minus
from learner.experiments.mechanism.finding import Groups, behaviour_of, mean, nested, nested_share, of_recipe
from learner.experiments.mechanism.update import GAUSSIAN

_COLOURS = {"all": "#1f5fa8", "undirected": "#b0b0b0", "adamw": "#d1711f", "adamw_tenth": "#e8b787"}
_READ = {
    "same": ("#d9d9d9", "both versions'"),
    "before": ("#9ec4e8", "the old version's"),
    "after": ("#1f5fa8", "the new version's"),
    "neither": ("#c0392b", "neither's"),
}


def attention(data: dict[str, Any]) -> Figure:
    """Draw the direction's share of attention by layer, and its change against the base."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    base = _by_layer([data["base"]], "direction")
    layers = range(len(base))
    left.plot(layers, [100 * v for v in base], color="black", linestyle="--", label="base")
    for name, label in (("all", "trained"), ("undirected", "control: trained without the direction")):
        cells = of_recipe(data["cells"], name)
        after = _by_layer(cells, "direction")
        left.plot(layers, [100 * v for v in after], color=_COLOURS[name], label=label)
        changes = [
            minus(_layer(cells, "direction", i), [_of_base(data, "direction", i)] * len(cells))
            for i in layers
        ]
        _band(right, changes, _COLOURS[name], label)
    cells = of_recipe(data["cells"], "all")
    asked = [
        minus(_layer(cells, "question", i), [_of_base(data, "question", i)] * len(cells)) for i in layers
    ]
    _band(right, asked, "#3a8f4d", "trained: the question's tokens")
    left.set_ylabel("share of attention on the direction, %")
    right.set_ylabel("change against the base, points")
    right.axhline(0, color="black", linewidth=0.6)
    for axis in (left, right):
        axis.set_xlabel("softmax layer")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False, fontsize=8)
    return figure


def _by_layer(cells: Sequence[dict[str, Any]], part: str) -> list[float]:
    count = len(cells[0]["attention"][0][part]) if cells[0]["attention"] else 0
    return [mean(_layer(cells, part, i)) for i in range(count)]


def _layer(cells: Sequence[dict[str, Any]], part: str, layer: int) -> list[list[float]]:
    return [[prompt[part][layer] for prompt in cell["attention"]] for cell in cells]


def _of_base(data: dict[str, Any], part: str, layer: int) -> list[float]:
    return _layer([data["base"]], part, layer)[0]


def _band(axis: Axes, changes: Sequence[list[list[float]]], colour: str, label: str) -> None:
    layers = range(len(changes))
    bands = [nested(groups) for groups in changes]
    axis.plot(layers, [100 * mean(groups) for groups in changes], color=colour, label=label)
    axis.fill_between(
        layers,
        [100 * low for low, _ in bands],
        [100 * high for _, high in bands],
        color=colour,
        alpha=0.2,
        linewidth=0,
    )


def recipes(data: dict[str, Any]) -> Figure:
    """Draw follow-rate, leak and drift of every recipe with intervals."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    names = list(dict.fromkeys(cell["recipe"] for cell in data["cells"] if "behaviour" in cell))
    panels = (("follow-rate", ("follow",)), ("leak", ("leak", "leak_other")), ("facts", ("facts",)))
    axes = figure.subplots(1, len(panels) + 1, sharey=True)
    for axis, (title, kinds) in zip(axes, panels, strict=False):
        _dots(axis, title, [behaviour_of(data["cells"], name, *kinds) for name in names], nested_share)
    base = behaviour_of(data["cells"], "base", "nll")
    drift = [
        minus(found, base * len(found)) for found in (behaviour_of(data["cells"], n, "nll") for n in names)
    ]
    _dots(axes[-1], "general NLL less the base's", drift, nested)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    return figure


def _dots(
    axis: Axes, title: str, groups: Sequence[Groups], interval_of: Callable[[Groups], Interval]
) -> None:
    """Draw a mean with its interval a row."""
    for row, found in enumerate(groups):
        value, (low, high) = mean(found), interval_of(found)
        axis.plot([low, high], [row, row], color="#1f5fa8", alpha=0.5)
        axis.plot(value, row, "o", color="#1f5fa8")
    axis.set_title(title, fontsize=10)
    axis.grid(axis="x", alpha=0.3)


def update(data: dict[str, Any]) -> Figure:
    """Draw, by kind of parameter, how concentrated, how full in rank and how far from zero the update is."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    cells = {name: of_recipe(data["cells"], name) for name in ("all", "adamw")}
    kinds = list(dict.fromkeys(t["kind"] for t in cells["all"][0]["update"]))
    titles = {
        "top": "squared norm in the top 1 %",
        "rank": "effective rank / full",
        "changed": "bf16 changed",
    }
    for axis, (what, title) in zip(axes, titles.items(), strict=True):
        for shift, (name, found) in enumerate(cells.items()):
            means = [_kind(found, kind, what) for kind in kinds]
            rows = [row + 0.38 * (shift - 0.5) for row in range(len(kinds))]
            label = {"all": "Apollo", "adamw": "AdamW"}[name]
            axis.barh(rows, means, height=0.36, color=_COLOURS[name], label=label)
        axis.set_title(title, fontsize=10)
    axes[0].axvline(GAUSSIAN, color="black", linewidth=0.8, linestyle="--", label="normal distribution")
    axes[0].legend(frameon=False, fontsize=8)
    axes[0].set_yticks(range(len(kinds)), kinds)
    axes[0].invert_yaxis()
    return figure


def _kind(cells: Sequence[dict[str, Any]], kind: str, what: str) -> float:
    found = [t[what] for cell in cells for t in cell["update"] if t["kind"] == kind and t[what] is not None]
    return fmean(found) if found else 0.0


def noise(data: dict[str, Any]) -> Figure:
    """Draw the rise of the loss by size of the noise."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axis = figure.subplots()
    for name in ("all", "adamw", "adamw_tenth"):
        cells = [cell for cell in of_recipe(data["cells"], name) if "noise" in cell]
        if not cells:
            continue
        scales = sorted(cells[0]["noise"]["rises"], key=float)
        groups = [[[r for draw in c["noise"]["rises"][s] for r in draw] for c in cells] for s in scales]
        bounds = [nested(found) for found in groups]
        label = {"all": "Apollo", "adamw": "AdamW", "adamw_tenth": "AdamW at a tenth of the rate"}[name]
        axis.plot(
            list(map(float, scales)), [mean(g) for g in groups], "o-", color=_COLOURS[name], label=label
        )
        axis.fill_between(
            list(map(float, scales)),
            [low for low, _ in bounds],
            [high for _, high in bounds],
            color=_COLOURS[name],
            alpha=0.2,
            linewidth=0,
        )
    axis.set_xlabel("noise, share of each tensor's RMS")
    axis.set_ylabel("rise of the loss on what was learned, nats a token")
    axis.legend(frameon=False, fontsize=8)
    return figure


def live(data: dict[str, Any]) -> Figure:
    """Draw what a reader gets of each step that stands still half written."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    found = data["live"]
    titles = {"pass": "forward passes", "answer": "whole answers"}
    for axis, (kind, title) in zip(axes, titles.items(), strict=True):
        axis.set_title(f"{title}, step half written", fontsize=10)
        if isinstance(found, str):
            axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes)
            continue
        _stacked(axis, {int(step) + 1: counts[kind] for step, counts in found["counts"].items()})
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _stacked(axis: Axes, steps: dict[int, dict[str, int]]) -> None:
    bottom = [0] * len(steps)
    for verdict, (colour, label) in _READ.items():
        heights = [found[verdict] for found in steps.values()]
        axis.bar(list(steps), heights, bottom=bottom, color=colour, label=label)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    axis.set_xticks(list(steps))
    axis.set_xlabel("step")
