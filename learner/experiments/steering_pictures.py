"""The pictures of the steering experiment, from its data alone."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from learner.experiments.intervals import of_mean
from learner.experiments.report import Draw


def heat(data: dict[str, Any]) -> Figure:
    """Follow-rate by layer and scale, one map a behaviour; a cross where general NLL is over the bound."""
    return _maps(data, "follow", "share of answers that show it", "viridis", (0.0, 1.0))


def cost(data: dict[str, Any]) -> Figure:
    """General NLL by layer and scale, in times of that without."""
    return _maps(data, "nll_ratio", "general NLL, times that without", "magma_r", (1.0, 2.0))


def rates(data: dict[str, Any]) -> Figure:
    """Off, random and on at the best cell, with the interval of on."""
    names = _names(data)
    figure = Figure(figsize=(1.3 * len(names) + 2, 3.6))
    axes = figure.subplots()
    for shift, (what, colour) in enumerate((("off", "0.75"), ("random", "tab:orange"), ("on", "tab:blue"))):
        values = [[v for one in _of(data, name) for v in one[what]] for name in names]
        means = np.array([fmean(v) for v in values])
        bounds = np.array([of_mean(v) for v in values])
        error = np.abs(np.stack([means - bounds[:, 0], bounds[:, 1] - means]))
        axes.bar(
            np.arange(len(names)) + 0.27 * (shift - 1), means, 0.25, yerr=error, color=colour, label=what
        )
    kinds = {one["name"]: one["kind"] for one in data["maps"]}
    axes.set_xticks(range(len(names)), [f"{name}\n({kinds[name]})" for name in names])
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("follow-rate without instruction")
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _maps(data: dict[str, Any], what: str, label: str, colours: str, limits: tuple[float, float]) -> Figure:
    names = _names(data)
    columns = (len(names) + 1) // 2
    figure = Figure(figsize=(2.6 * columns + 1.2, 5.6), layout="constrained")
    grid = figure.subplots(2, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        own = _of(data, name)
        layers = sorted({cell["layer"] for cell in own[0]["cells"]})
        scales = sorted({cell["scale"] for cell in own[0]["cells"]})
        values, ratios = (_grid(own, layers, scales, key) for key in (what, "nll_ratio"))
        image = axes.imshow(
            values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto", origin="lower"
        )
        for (row, column), value in np.ndenumerate(values):
            over = " x" if ratios[row, column] > data["most_nll"] else ""
            dark = (value - limits[0]) / (limits[1] - limits[0]) < 0.55
            white = dark if colours == "viridis" else not dark
            axes.text(
                *(column, row, f"{value:.2f}{over}"),
                **{"ha": "center", "va": "center", "fontsize": 8, "color": "white" if white else "black"},
            )
        axes.set_title(f"{name} ({own[0]['kind']})", fontsize=10)
        axes.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
        axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    figure.supxlabel("scale (distances between the means); x: general NLL over the bound", fontsize=9)
    figure.supylabel("layer", fontsize=9)
    figure.colorbar(image, ax=grid, label=label, shrink=0.8)
    return figure


def _names(data: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(one["name"] for one in data["maps"]))


def _of(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [one for one in data["maps"] if one["name"] == name]


def _grid(own: list[dict[str, Any]], layers: list[int], scales: list[float], key: str) -> Any:
    """Mean over seeds, [layers, scales]."""
    cells = {(layer, scale): [] for layer in layers for scale in scales}
    for one in own:
        for cell in one["cells"]:
            cells[cell["layer"], cell["scale"]].append(cell[key])
    return np.array([[fmean(cells[layer, scale]) for scale in scales] for layer in layers])


PICTURES: dict[str, Draw] = {"heat": heat, "cost": cost, "rates": rates}
