"""The tables of `gdn-state`, from the data of its report alone."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from learner.experiments import intervals
from learner.experiments.hybrid.findings import NAMES, corrected, gain_of, grid_of, places_of
from learner.experiments.report import Table


def tables_of(data: dict[str, Any]) -> tuple[Table, ...]:
    """Return behaviour, figures by kind and by layer, and how far parameters moved."""
    return (_behaviour_table(data), _kind_table(data), _layer_table(data), _moved_table(data))


def _behaviour_table(data: dict[str, Any]) -> Table:
    rows: list[tuple[str | float | int, ...]] = []
    for name, found in data["directions"].items():
        for when, runs in (("before", [found["before"]]), *((w, found[w]) for w in ("direction", "plain"))):
            follows = [r["behaviour"]["follows"] for r in runs]
            low, high = intervals.of_rates([fmean(f) for f in follows], len(follows[0]))
            leaks = [fmean(r["behaviour"]["leaks"]) for r in runs]
            other = [fmean(r["behaviour"]["leaks_other"]) for r in runs]
            rows.append(
                (name, when, intervals.mean(follows), low, high, fmean(leaks), fmean(other), len(follows[0]))
            )
    columns = ("direction", "trained on", "follows", "low", "high", "leak", "leak under others", "questions")
    return Table(title="Behaviour on held-out questions, unseen wordings", columns=columns, rows=tuple(rows))


def _kind_table(data: dict[str, Any]) -> Table:
    rows = []
    for kind, name in NAMES.items():
        places = places_of(data, kind)
        shift = [intervals.mean(grid_of(data, places, "shifts", w)) for w in ("before", "direction", "plain")]
        right = [intervals.mean(grid_of(data, places, "probe", w)) for w in ("before", "direction", "plain")]
        plain = [
            intervals.mean(grid_of(data, places, "shifts_from_plain", w))
            for w in ("before", "direction", "plain")
        ]
        gain = gain_of(data, places, "before")
        low, high = intervals.of_grid(gain)
        rows.append((name, len(places), *shift, intervals.mean(gain), low, high, *right, *plain))
    columns = ("what", "layers", "shift before", "after", "control", "growth", "low", "high")
    return Table(
        title="Shift under the direction against other directions (in spreads), and right answers of a probe",
        columns=(
            *(*columns, "probe before", "probe after", "probe control"),
            *("from no direction: before", "after", "control"),
        ),
        rows=tuple(rows),
    )


def _layer_table(data: dict[str, Any]) -> Table:
    rows = []
    for kind in NAMES:
        for place, p in zip(places_of(data, kind), corrected(data, kind), strict=True):
            gain = gain_of(data, [place], "before")
            low, high = intervals.of_grid(gain)
            line = [_scalar(data, place, "first_share", w) for w in ("before", "direction", "plain")]
            turned = [_scalar(data, place, "agreement", w) for w in ("direction", "plain")]
            layer = int(place.partition("/")[2])
            rows.append((NAMES[kind], layer, intervals.mean(gain), low, high, p, *line, *turned))
    columns = (
        "what",
        "layer",
        "growth",
        "low",
        "high",
        "p (Holm)",
        "one line before",
        "after",
        "control",
    )
    return Table(
        title="By layer: growth of the shift, share along one line, agreement of the subspace with before",
        columns=(*columns, "subspace after", "subspace control"),
        rows=tuple(rows),
    )


def _scalar(data: dict[str, Any], place: str, figure: str, when: str) -> float:
    return fmean(
        record["places"][place][figure]
        for found in data["directions"].values()
        for record in ([found["before"]] if when == "before" else found[when])
    )


def _moved_table(data: dict[str, Any]) -> Table:
    runs = {
        w: [r["moved"] for f in data["directions"].values() for r in f[w]] for w in ("direction", "plain")
    }
    kinds = [kind for kind, share in runs["direction"][0].items() if share or "embed" not in kind]
    rows = tuple((k, *(fmean(run[k] for run in runs[w]) for w in ("direction", "plain"))) for k in kinds)
    return Table(
        title="How far parameters moved, |W - W0| / |W0|, mean over layers and runs",
        columns=("parameter", "trained on the direction", "control"),
        rows=rows,
    )
