"""The pictures of `gdn-state`, from the data of its report alone."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_KINDS = (
    ("recurrent", "recurrent state"),
    ("keys and values", "keys and values"),
    ("residual", "residual stream"),
)
_WHEN = (("before", "before", "0.55"), ("direction", "after", "tab:blue"), ("plain", "control", "tab:orange"))


def draw_shifts(data: dict[str, Any]) -> Figure:
    """Draw, by layer, how far states shift under the direction: before, after, after the control."""
    return _panels(data, "shifts", "shift, in spreads", None)


def draw_probes(data: dict[str, Any]) -> Figure:
    """Draw, by layer, how often a probe tells the direction from others in unseen wordings."""
    return _panels(data, "probe", "right answers of the probe", 0.5)


def _panels(data: dict[str, Any], figure: str, label: str, chance: float | None) -> Figure:
    canvas = Figure(figsize=(9.5, 2.9 * len(data["directions"])), layout="constrained")
    axes = canvas.subplots(len(data["directions"]), len(_KINDS), sharey=True, squeeze=False)
    for row, (name, found) in zip(axes, data["directions"].items(), strict=True):
        for panel, (kind, title) in zip(row, _KINDS, strict=True):
            _panel(panel, found, kind, figure)
            panel.set_title(title, fontsize=10)
            panel.set_xlabel("layer")
            panel.set_xticks(range(data["layers"]))
            panel.set_xlim(-0.5, data["layers"] - 0.5)
            panel.grid(alpha=0.3)
            if chance is not None:
                panel.axhline(chance, color="black", linewidth=0.8, linestyle=":")
        row[0].set_ylabel(f"{name}: {label}", fontsize=9)
    axes[0][0].legend(fontsize=8)
    return canvas


def _panel(panel: Axes, found: dict[str, Any], kind: str, figure: str) -> None:
    for when, label, colour in _WHEN:
        records = [found["before"]] if when == "before" else found[when]
        layers = sorted(int(p.partition("/")[2]) for p in records[0]["places"] if p.startswith(f"{kind}/"))
        heights = [fmean(fmean(r["places"][f"{kind}/{n}"][figure]) for r in records) for n in layers]
        panel.plot(layers, heights, marker="o", markersize=4, color=colour, label=label)
