"""What `gdn-state` found, from the data of its report alone: figures with intervals, and the plain answer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from learner.experiments import intervals
from learner.experiments.hybrid.measures import holm, sign_flip

NAMES = {
    "recurrent": "recurrent state (GDN)",
    "keys and values": "keys and values (attention)",
    "reading of GDN": "what the GDN layer adds",
    "reading of attention": "what the attention layer adds",
    "residual": "residual stream",
}
"""Kinds of places, and how they are told of."""
_ALPHA = 0.05


def places_of(data: dict[str, Any], kind: str) -> list[str]:
    """Return the places of a kind as it is named in the tables."""
    recurrent = set(data["recurrent_layers"])
    plain, _, of = kind.partition(" of ")
    layers = [n for n in range(data["layers"]) if not of or (n in recurrent) == (of == "GDN")]
    first = next(iter(data["directions"].values()))["before"]["places"]
    return [f"{plain}/{n}" for n in layers if f"{plain}/{n}" in first]


def grid_of(data: dict[str, Any], places: Sequence[str], figure: str, when: str) -> list[list[float]]:
    """Return a figure by run (directions, and their seeds) and item, as the mean over places."""
    rows = []
    for found in data["directions"].values():
        records = [found["before"]] * len(found["direction"]) if when == "before" else found[when]
        for record in records:
            values = [record["places"][place][figure] for place in places]
            rows.append([fmean(items) for items in zip(*values, strict=True)])
    return rows


def gain_of(
    data: dict[str, Any], places: Sequence[str], against: str, figure: str = "shifts"
) -> list[list[float]]:
    """Return how much more a figure is after training on the direction than `before` or after `plain`."""
    return intervals.minus(grid_of(data, places, figure, "direction"), grid_of(data, places, figure, against))


def learnt(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of the directions that the model measurably learnt to follow."""
    kept = {
        name: found
        for name, found in data["directions"].items()
        if intervals.sign(intervals.of_grid(_gained(found))) > 0
    }
    return data | {"directions": kept}


def answering(data: dict[str, Any]) -> tuple[float, intervals.Interval, int]:
    """Return how the shift of recurrent states grew, with its interval and its number of questions.

    Of the directions that were learnt; where none was, of all.
    """
    counted = learnt(data) if learnt(data)["directions"] else data
    gain = gain_of(counted, places_of(counted, "recurrent"), "before")
    return intervals.mean(gain), intervals.of_grid(gain), len(gain[0])


def answer_of(data: dict[str, Any]) -> str:
    """Return the plain answer: yes, no, or not measurable at this size."""
    counted = learnt(data)
    missed = [name for name in data["directions"] if name not in counted["directions"]]
    if not counted["directions"]:
        return (
            f"Not measurable at this size: the model learnt to follow none of {', '.join(missed)},"
            " so there is no learnt direction to look for."
        )
    grew = [_grew(counted, place) for place in places_of(counted, "recurrent")]
    ps = corrected(counted, "recurrent")
    certain = sum(more and p < _ALPHA for more, p in zip(grew, ps, strict=True))
    parts = [
        f"{_verdict(counted)}: {_grown(counted, 'recurrent', 'shifts')}, in spreads, n {answering(data)[2]};"
        f" {certain} of {len(ps)} GDN layers grew on both counts at p < {_ALPHA}.",
        "The same elsewhere: "
        + "; ".join(f"{NAMES[k]} {_grown(counted, k, 'shifts')}" for k in ("keys and values", "residual"))
        + ".",
        f"Right answers of a probe of recurrent states in unseen wordings: {_probed(counted)}.",
        *([f"Left out, since it was not learnt: {', '.join(missed)}."] if missed else []),
    ]
    return " ".join(parts)


def _gained(found: dict[str, Any]) -> list[list[float]]:
    """Return what training added to the follow-rate of a direction, by run and question."""
    before = [found["before"]["behaviour"]["follows"]] * len(found["direction"])
    return intervals.minus([run["behaviour"]["follows"] for run in found["direction"]], before)


def _is_specific(data: dict[str, Any]) -> bool:
    """Tell whether the model does it more often under the direction than under others."""
    runs = [run["behaviour"] for found in data["directions"].values() for run in found["direction"]]
    apart = intervals.minus([run["follows"] for run in runs], [run["leaks_other"] for run in runs])
    return intervals.sign(intervals.of_grid(apart)) > 0


def _grew(data: dict[str, Any], place: str) -> bool:
    return all(intervals.mean(gain_of(data, [place], against)) > 0 for against in ("before", "plain"))


def _verdict(data: dict[str, Any]) -> str:
    places = places_of(data, "recurrent")
    if not _is_specific(data):
        return (
            "Not measurable at this size: the model learnt to answer so under any direction, so its states"
            " need not tell this one from others. Growth of their common shift"
        )
    grown, apart = (
        intervals.sign(intervals.of_grid(gain_of(data, places, against))) for against in ("before", "plain")
    )
    if grown > 0 and apart > 0:
        return "Yes: learning the direction makes recurrent states shift further in one common way under it"
    if grown > 0:
        return "No: recurrent states shift further under the direction, but no more than after the control"
    if grown < 0:
        return "No: under the direction recurrent states shift less in one common way than before"
    return "No: how far recurrent states shift under the direction did not measurably change"


def _grown(data: dict[str, Any], kind: str, figure: str) -> str:
    """Tell of the growth of a figure, against before and against the control."""
    told = []
    for against, name in (("before", "before"), ("plain", "the control")):
        gain = gain_of(data, places_of(data, kind), against, figure)
        low, high = intervals.of_grid(gain)
        told.append(f"{intervals.mean(gain):+.2f} against {name} ({low:+.2f} to {high:+.2f})")
    return ", ".join(told)


def _probed(data: dict[str, Any]) -> str:
    places = places_of(data, "recurrent")
    before, after, control = (
        intervals.mean(grid_of(data, places, "probe", when)) for when in ("before", "direction", "plain")
    )
    return (
        f"{before:.2f} before, {after:.2f} after, {control:.2f} after the control (chance 0.50);"
        f" {_grown(data, 'recurrent', 'probe')}"
    )


def corrected(data: dict[str, Any], kind: str) -> list[float]:
    """Return, by layer, the corrected p that the shift is that of before or that of the control."""
    return holm(
        [max(_p(data, place, against) for against in ("before", "plain")) for place in places_of(data, kind)]
    )


def _p(data: dict[str, Any], place: str, against: str) -> float:
    return sign_flip([fmean(items) for items in zip(*gain_of(data, [place], against), strict=True)])
