"""How many examples until behaviour measurably changes? One direction after the other, 1 to 300 examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from learner.experiments import material
from learner.experiments.course import learn
from learner.experiments.directions import FIVE, JSON_KEY, Direction
from learner.experiments.intervals import Interval, between, mean, minus, of_grid
from learner.experiments.monotone import crossing, crossings, margins_of, monotone
from learner.experiments.progress import Progress
from learner.experiments.report import Report, Table
from learner.experiments.setting import Setting
from learner.experiments.subjects import Subject, of_directions, of_store
from store.database import open_read_only
from store.examples import corrected

QUESTION = "How many examples until behaviour measurably changes?"
COUNTS = (1, 3, 10, 30, 100, 300)
_MOST_USES = 200
"""Uses of all examples together: many examples are each used less often."""
_SCORED = 8
"""A scoring takes about as long as so many steps."""
_METHOD = (
    "For every direction, seed and count the base model is trained from scratch by the product's own trainer"
    " on the first so many of one list of corrections, without rehearsal: an example is a correction.",
    "Each is used as often as the configuration says, but all together at most 200 times:"
    " 100 are used twice and 300 once.",
    "There are 110 questions. Beyond that a question comes again, with another wording, argument or place of"
    " the direction.",
    "Follow-rate: held-out questions under an unseen wording with unseen arguments, greedy, checked by code;"
    " the same items before and after, so that the gain is paired.",
    "Threshold: the smallest count at which the gain, made monotone in the count, exceeds the distance from"
    " its mean to the low end of its 95 % interval. Its own interval: bootstrap over seeds and items.",
)
_METHOD_STORED = (
    "The user's own corrections, by the text of the direction; those that code can check. A third of the"
    " decisions of each direction is held out, the same for all seeds.",
    *_METHOD[:2],
    "Follow-rate: the held-out decisions, answered again and checked by code, before and after.",
    _METHOD[-1],
)
_LIMITS = (
    "A threshold that is not reached counts as the largest count, in intervals and in the median.",
    "With rehearsal, as `up` trains, fewer corrections do the same: it makes further examples of each.",
)


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    directions: tuple[Direction, ...]
    counts: tuple[int, ...]
    questions: int
    tokens: int


QUICK = Plan((JSON_KEY,), COUNTS[:3], 20, 48)
FULL = Plan(FIVE, COUNTS, 40, 48)


def run(setting: Setting) -> Report:
    """Train on every count of every direction, and find where the gain begins."""
    plan = QUICK if setting.quick else FULL
    return report_of(setting, _curves(setting, _subjects(setting, plan), plan.counts))


def _subjects(setting: Setting, plan: Plan) -> dict[int, list[Subject]]:
    models = setting.models
    if setting.stored:
        store = open_read_only(setting.home)
        found = corrected(store)
        store.close()
        return of_store(models, found, plan.tokens, setting.seeds)
    setting.tell(f"the base answers {plan.counts[-1]} questions for each direction and seed")
    questions = material.HELD_OUT[: plan.questions]
    return of_directions(models, plan.directions, plan.counts[-1], questions, plan.tokens, setting.seeds)


def _curves(
    setting: Setting, subjects: dict[int, list[Subject]], counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Return a curve a direction: `base` by item, `trained` by count, seed and item."""
    models, first = setting.models, subjects[setting.seeds[0]]
    progress = Progress(
        setting.tell,
        sum(
            _work(setting, count) for found in subjects.values() for s in found for count in _up_to(s, counts)
        ),
    )
    curves = []
    for number, subject in enumerate(first):
        base = subject.score(models.base)
        trained = []
        for count in _up_to(subject, counts):
            rows = []
            for seed in setting.seeds:
                rows.append(_taught(setting, subjects[seed][number], count, seed))
                line = f"{subject.name}, {count} examples, seed {seed}: {mean([rows[-1]]):.2f}"
                progress.done(
                    f"{line} of held-out prompts followed, base {mean([base]):.2f}", _work(setting, count)
                )
            trained.append(rows)
        curve = {"name": subject.name, "counts": _up_to(subject, counts), "base": base, "trained": trained}
        curves.append(curve)
    return curves


def _up_to(subject: Subject, counts: Sequence[int]) -> list[int]:
    """Return the counts that there are examples for, and at last all of them."""
    most = min(counts[-1], len(subject.examples))
    return [*(count for count in counts if count < most), most]


def uses_of(count: int, uses: int) -> int:
    """Return how often each of `count` examples is used, where few would be used `uses` times."""
    return max(1, min(uses, _MOST_USES // count))


def _work(setting: Setting, count: int) -> float:
    uses = uses_of(count, setting.training.uses_per_example)
    return _SCORED + count * uses / setting.training.corrections_per_batch


def _taught(setting: Setting, subject: Subject, count: int, seed: int) -> list[float]:
    models, config = setting.models, setting.training
    config = config.model_copy(update={"uses_per_example": uses_of(count, config.uses_per_example)})
    models.reset()
    learn(models, subject.examples[:count], setting.pool, config, seed)
    return subject.score(models.model)


def thresholds(curve: dict[str, Any]) -> dict[str, Any]:
    """Return where a curve crosses: `at` (None: nowhere), and that of every resample."""
    counts = curve["counts"]
    gains = [minus(rows, [curve["base"]] * len(rows)) for rows in curve["trained"]]
    margins = margins_of(gains)
    return {
        "at": crossing(counts, [mean(gain) for gain in gains], margins),
        "resampled": crossings(counts, gains, margins),
        "gains": [(mean(gain), *of_grid(gain)) for gain in gains],
    }


def figure_of(data: dict[str, Any]) -> tuple[float, Interval, int]:
    """Return the median of the directions' thresholds."""
    curves = data["curves"]
    found = [thresholds(curve) for curve in curves]
    reached = [one["at"] or curve["counts"][-1] for one, curve in zip(found, curves, strict=True)]
    resampled = [median(each) for each in zip(*(one["resampled"] for one in found), strict=True)]
    items = sum(len(curve["base"]) * len(curve["trained"][0]) for curve in curves)
    return float(median(reached)), between(resampled), items


def report_of(setting: Setting, curves: list[dict[str, Any]]) -> Report:
    """Return the report of some curves."""
    found = {curve["name"]: thresholds(curve) for curve in curves}
    value, interval, items = figure_of({"curves": curves})
    return setting.report(
        name="examples",
        question=QUESTION,
        answer=_answer(curves, found, value, interval),
        measured="examples until the median direction is followed measurably more often",
        value=value,
        interval=interval,
        n=items,
        method=_METHOD_STORED if setting.stored else _METHOD,
        limits=_LIMITS,
        toy=False,
        tables=(_thresholds_table(curves, found), _curves_table(curves, found)),
        data={"curves": curves},
    )


def _answer(
    curves: list[dict[str, Any]], found: dict[str, Any], value: float, interval: tuple[float, float]
) -> str:
    each = "; ".join(_said(curve, found[curve["name"]]) for curve in curves)
    if all(one["at"] is None for one in found.values()):
        return f"Not measurable at this size: no follow-rate rises by more than its interval. {each}."
    return (
        f"The median direction is followed measurably more often from {value:g} examples on (95 % interval"
        f" {interval[0]:g} to {interval[1]:g}). {each}."
    )


def _said(curve: dict[str, Any], found: dict[str, Any]) -> str:
    before, after = mean([curve["base"]]), mean(curve["trained"][-1])
    rates = f"follow-rate {before:.2f} before, {after:.2f} after {curve['counts'][-1]}"
    if found["at"] is None:
        return f"{curve['name']}: not within {curve['counts'][-1]} ({rates})"
    low, high = between(found["resampled"])
    return f"{curve['name']}: from {found['at']} [{low:g}, {high:g}] ({rates})"


def _thresholds_table(curves: list[dict[str, Any]], found: dict[str, Any]) -> Table:
    rows = [
        (
            curve["name"],
            found[curve["name"]]["at"],
            *between(found[curve["name"]]["resampled"]),
            mean([curve["base"]]),
            mean(curve["trained"][-1]),
            len(curve["base"]) * len(curve["trained"][0]),
        )
        for curve in curves
    ]
    columns = ("direction", "from examples", "low", "high", "base", "at the most examples", "n")
    return Table(
        title="Where the gain begins (-: not within the largest count)", columns=columns, rows=tuple(rows)
    )


def _curves_table(curves: list[dict[str, Any]], found: dict[str, Any]) -> Table:
    rows = [
        (curve["name"], count, mean(trained), monotone_at, *gain)
        for curve in curves
        for count, trained, monotone_at, gain in zip(
            curve["counts"],
            curve["trained"],
            monotone([mean(rows) for rows in curve["trained"]]),
            found[curve["name"]]["gains"],
            strict=True,
        )
    ]
    columns = ("direction", "examples", "follow-rate", "monotone", "gain", "low", "high")
    return Table(title="Follow-rate by number of examples", columns=columns, rows=tuple(rows))


def picture(data: dict[str, Any]) -> Figure:
    """Follow-rate by number of examples, a panel a direction: interval of the gain, base, threshold."""
    curves = data["curves"]
    columns = min(3, len(curves))
    lines = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, curve in zip(grid.flat, curves, strict=False):
        found, base = thresholds(curve), mean([curve["base"]])
        low, high = ([base + gain[side] for gain in found["gains"]] for side in (1, 2))
        axes.fill_between(curve["counts"], low, high, alpha=0.25, label="95 % interval")
        axes.plot(curve["counts"], [mean(rows) for rows in curve["trained"]], marker="o", label="trained")
        axes.axhline(base, color="0.5", linestyle="--", label="base")
        if found["at"] is not None:
            axes.axvline(found["at"], color="tab:red", linestyle=":", label="threshold")
        axes.set_xscale("log")
        axes.set_xticks(curve["counts"], [str(count) for count in curve["counts"]])
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.02)
        axes.set_title(curve["name"][:40], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("examples")
    grid[0, 0].set_ylabel("follow-rate")
    grid[0, 0].legend(frameon=False, fontsize=8)
    return figure


PICTURES = {"curves": picture}
