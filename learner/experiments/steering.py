"""Simple features against complex behaviours: how well does a steering vector carry each?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from learner.experiments.behaviours import BEHAVIOURS, FEATURES
from learner.experiments.intervals import Interval
from learner.experiments.progress import Progress
from learner.experiments.report import Report, Table
from learner.experiments.setting import Setting
from learner.experiments.steering_map import Ground, Map, Sizes, difference, gain_of, measure
from learner.experiments.steering_pictures import PICTURES
from learner.model import load_model
from learner.steering.tryout import MOST_SURPRISING

__all__ = ["PICTURES", "QUESTION", "figure_of", "run"]

QUESTION = "How well does a steering vector carry simple features and complex behaviours, by layer and scale?"
MOST_NLL = 1.5
"""General NLL at a tested cell, at most so many times that without."""
QUICK = Sizes(8, (0.5, 0.7, 0.83), (0.75, 1.5, 3.0), 6, 12, 1, 10, 2)
FULL = Sizes(10, (0.2, 0.35, 0.5, 0.65, 0.8, 0.93), (0.5, 0.75, 1.0, 1.5, 2.0, 3.0), 12, 24, 2, 16, 6)
_QUICK_OF_EACH = 3


def run(setting: Setting) -> Report:
    """Map every behaviour with every seed, test its best cell, and compare the two kinds."""
    sizes = QUICK if setting.quick else FULL
    maps = _maps(setting, sizes)
    data = {"most_nll": MOST_NLL, "maps": [one.model_dump() for one in maps]}
    value, interval, items = figure_of(data)
    return setting.report(
        name="steering",
        question=QUESTION,
        answer=_answer(maps, value, interval),
        measured="gain in follow-rate over a random vector, simple features minus complex behaviours",
        value=value,
        interval=interval,
        n=items,
        method=_method(sizes),
        limits=_LIMITS,
        tables=(_best(maps), _depths(maps)),
        data=data,
    )


def _maps(setting: Setting, sizes: Sizes) -> list[Map]:
    each = _QUICK_OF_EACH if setting.quick else len(FEATURES)
    behaviours = (*FEATURES[:each], *BEHAVIOURS[:each])
    model, tokenizer = load_model(setting.folder)  # one is enough: nothing is trained
    progress = Progress(setting.tell, len(setting.seeds) * len(behaviours))
    maps = []
    for seed in setting.seeds:
        ground = Ground(model, tokenizer, sizes, seed)
        for behaviour in behaviours:
            found = measure(ground, behaviour, MOST_NLL)
            progress.done(
                f"seed {seed}, {found.name}: layer {found.best.layer}, x{found.best.scale:g}:"
                f" off {fmean(found.off):.2f}, on {fmean(found.on):.2f}, random {fmean(found.random):.2f}"
            )
            maps.append(found)
    return maps


def figure_of(data: dict[str, Any]) -> tuple[float, Interval, int]:
    """Return what simple features gain over a random vector, less what complex behaviours gain."""
    maps = [Map.model_validate(one) for one in data["maps"]]
    return *difference(maps), sum(len(one.on) for one in maps)


def _answer(maps: Sequence[Map], value: float, interval: tuple[float, float]) -> str:
    carried = {kind: _carried(maps, kind) for kind in ("simple", "complex")}
    told = [
        f"{len(names)} of {total} {kind} ones are carried ({', '.join(names) or 'none'};"
        f" mean gain over random {gain:+.2f})"
        for kind, (names, total, gain) in carried.items()
    ]
    low, high = interval
    if low > 0:
        verdict = "Simple features are carried better than complex behaviours"
    elif high < 0:
        verdict = "Complex behaviours are carried better than simple features"
    else:
        verdict = "Whether simple features are carried better is not measurable at this size"
    return (
        f"{verdict} (difference {value:+.2f}, {low:+.2f} to {high:+.2f}): "
        f"{'; '.join(told)}. General text pays with {_cost(maps)} times its NLL at the best cells."
    )


def _carried(maps: Sequence[Map], kind: str) -> tuple[list[str], int, float]:
    """Return those whose gain is above 0 with its whole interval, how many there are, and the mean gain."""
    groups = _named(maps, kind)
    names = [name for name, own in groups.items() if gain_of(own)[1][0] > 0]
    return names, len(groups), fmean(gain_of(own)[0] for own in groups.values())


def _cost(maps: Sequence[Map]) -> str:
    ratios = sorted(one.best.nll_ratio for one in maps)
    return f"{ratios[0]:.2f} to {ratios[-1]:.2f}"


def _named(maps: Sequence[Map], kind: str) -> dict[str, list[Map]]:
    names = dict.fromkeys(one.name for one in maps if one.kind == kind)
    return {name: [one for one in maps if one.name == name] for name in names}


def _best(maps: Sequence[Map]) -> Table:
    columns = ("what", "kind", "layer", "scale", "off", "on", "random", "gain", "low", "high")
    rows = []
    for kind in ("simple", "complex"):
        for name, own in _named(maps, kind).items():
            gain, (low, high) = gain_of(own)
            rows.append(
                (
                    name,
                    kind,
                    " ".join(str(one.best.layer) for one in own),
                    " ".join(f"{one.best.scale:g}" for one in own),
                    *(fmean(fmean(getattr(one, what)) for one in own) for what in ("off", "on", "random")),
                    *(gain, low, high),
                    *(fmean(one.best.nll_ratio for one in own), fmean(one.random_nll_ratio for one in own)),
                    sum(len(one.on) for one in own),
                )
            )
    return Table(
        title="At the best cell, on questions that did not choose it (gain: over random, 95 % interval)",
        columns=(*columns, "NLL", "NLL of random", "n"),
        rows=tuple(rows),
    )


def _depths(maps: Sequence[Map]) -> Table:
    """The best follow-rate at each layer that general text can bear, mean over behaviours."""
    layers = sorted({cell.layer for one in maps for cell in one.cells})
    rows = [
        (layer, *(fmean(_best_at(one, layer) for one in maps if one.kind == kind) for kind in _KINDS))
        for layer in layers
    ]
    return Table(
        title=f"Best follow-rate at each layer where general NLL is at most {MOST_NLL:g} times, mean",
        columns=("layer", *_KINDS),
        rows=tuple(rows),
    )


_KINDS = ("simple", "complex")


def _best_at(one: Map, layer: int) -> float:
    own = [cell.follow for cell in one.cells if cell.layer == layer and cell.nll_ratio <= MOST_NLL]
    return max(own, default=0.0)


def _method(sizes: Sizes) -> tuple[str, ...]:
    return (
        f"A vector is the mean difference of the residual stream over the answer's tokens between the model's"
        f" own answers and the same ones rewritten ({sizes.pairs} pairs); it is added after one layer, at all"
        " positions.",
        f"For each layer and scale the model answers {sizes.chosen_on} held-out questions that ask for none"
        f" of it, greedily, {sizes.tokens} tokens. Code checks the answers; loops, and what surprises the"
        f" unsteered model {MOST_SURPRISING:g} times as much a letter as general text, do not count.",
        f"The cell that shows most, with general NLL at most {MOST_NLL:g} times that without, is tested on"
        f" {sizes.tested_on} other questions against no vector and {sizes.controls} random vector(s) of the"
        " same norm at the same layer.",
        "A gain is on minus random, question by question; its interval is a bootstrap over the questions."
        " The interval of the difference between the kinds draws behaviours, then questions.",
    )


_LIMITS = (
    "Complex behaviours are told by words that betray them: a follow-rate there says that the words appear,"
    " not that the persona is played well.",
    "The behaviours are few, and chosen by us: the interval of the difference is wide for that reason.",
    "What a scale means differs from behaviour to behaviour: it is in distances between the means of followed"
    " and ignored answers.",
)
