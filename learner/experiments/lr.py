"""Which learning rate gains most for what it leaks and forgets? A sweep, and a value for this model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from learner.experiments import material
from learner.experiments.course import corrections_of, learn
from learner.experiments.directions import FIVE, JSON_KEY, LOWERCASE, Direction
from learner.experiments.harm import Change, Harm, changes
from learner.experiments.heeding import followed, leaked
from learner.experiments.intervals import Interval, minus, of_grid, sign
from learner.experiments.progress import Progress
from learner.experiments.report import Report, Table
from learner.experiments.setting import Setting
from policies.config import GuardConfig

QUESTION = "Which learning rate gains most for what it leaks and forgets?"
_LEAK = 0.05
"""More answers than the base's in which a direction shows that nobody gave, at most."""
_PARTS = {
    "follow": "gain in follow-rate",
    "leak": "leak",
    "facts": "facts",
    "nll": "general NLL, relative",
    "kl": "KL to the base, nats a token",
}
_METHOD = (
    "For every rate and seed the base model is trained from scratch on the same corrections by the product's"
    " own trainer and schedule (the rate is its peak), without rehearsal.",
    "Gain: held-out questions under unseen wordings, greedy, checked by code. Leak: a taught direction shows"
    " in answers to prompts with none or an unrelated one. Facts, general NLL and KL: those of the probes.",
    "Every change is against the base, paired by item; 95 % intervals by bootstrap over seeds and items.",
    f"A rate is harmless where its leak is at most {_LEAK:g} above the base's, and general NLL, facts and KL"
    " are within the bounds of the guard in the configuration ([guard]).",
    "Recommended: the harmless rate that gains most; of equal ones the nearest to the base. Its interval runs"
    " over all harmless rates whose gain is not measurably smaller.",
)
_LIMITS = (
    "One size of round: more corrections at once bear a smaller rate, fewer need a larger one.",
    "Harm is judged by its mean: an interval that reaches over a bound does not exclude a rate.",
)


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    rates: tuple[float, ...]
    directions: tuple[Direction, ...]
    corrections: int
    questions: int
    facts: int
    texts: int
    prompts: int
    tokens: int = 48


QUICK = Plan((3e-5, 1e-3), (JSON_KEY, LOWERCASE), 6, 12, 40, 8, 8)
FULL = Plan((1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3), FIVE, 30, 24, 120, 20, 16)


def run(setting: Setting) -> Report:
    """Train with every rate, measure gain and harm, and recommend one."""
    plan = QUICK if setting.quick else FULL
    harm = Harm(setting.models.base, setting.models.tokenizer, plan.facts, plan.texts, plan.prompts)
    base = _measured(setting, plan, harm, trained=False)
    return report_of(setting, _cells(setting, plan, harm), base)


def _cells(setting: Setting, plan: Plan, harm: Harm) -> list[dict[str, Any]]:
    models, config = setting.models, setting.training
    rates = sorted({*plan.rates, config.learning_rate})
    progress = Progress(setting.tell, len(rates) * len(setting.seeds))
    cells = []
    for seed in setting.seeds:
        corrections = corrections_of(models, plan.directions, plan.corrections, seed)
        for rate in rates:
            models.reset()
            training = config.model_copy(update={"learning_rate": rate})
            learned = learn(models, corrections, setting.pool, training, seed)
            cell = {"rate": rate, "seed": seed, "losses": list(learned.losses)}
            cells.append(cell | _measured(setting, plan, harm, trained=True))
            follow = cells[-1]["follow"]
            progress.done(f"rate {rate:g}, seed {seed}: {sum(follow) / len(follow):.2f} followed")
    return cells


def _measured(setting: Setting, plan: Plan, harm: Harm, *, trained: bool) -> dict[str, list[float]]:
    model = setting.models.model if trained else setting.models.base
    asked = (setting.models.tokenizer, plan.directions, material.HELD_OUT[: plan.questions], plan.tokens)
    by_direction = followed(model, *asked)
    follow = [hit for hits in by_direction.values() for hit in hits]
    return {"follow": follow, "leak": leaked(model, *asked), **harm.of(model)}


@dataclass(frozen=True)
class Choice:
    """The rate that is recommended (None: no harmless one gains measurably), and those not worse."""

    rate: float | None
    best: float
    as_good: Interval
    harmless: tuple[float, ...]


def bounds_of(guard: GuardConfig) -> dict[str, float]:
    """Return the most harm that is allowed, by part; facts may fall by so much."""
    return {"leak": _LEAK, "facts": guard.facts_drop, "nll": guard.nll_increase, "kl": guard.kl_to_base}


def is_harmless(found: dict[str, Change], bounds: dict[str, float]) -> bool:
    """Tell whether every mean harm is within its bound."""
    return all(
        found[part].value >= -bound if part == "facts" else found[part].value <= bound
        for part, bound in bounds.items()
    )


def chosen(cells: Sequence[dict[str, Any]], base: dict[str, list[float]], bounds: dict[str, float]) -> Choice:
    """Choose a rate: the harmless one that gains most."""
    by_rate = _by_rate(cells)
    found = {rate: changes(own, base) for rate, own in by_rate.items()}
    harmless = tuple(rate for rate, one in found.items() if is_harmless(one, bounds))
    best = max(harmless or found, key=lambda rate: (found[rate]["follow"].value, -found[rate]["kl"].value))
    gained = sign(found[best]["follow"].interval) > 0
    rows = {rate: [cell["follow"] for cell in own] for rate, own in by_rate.items()}
    as_good = [
        rate for rate in harmless if rate == best or sign(of_grid(minus(rows[best], rows[rate]))) <= 0
    ] or list(found)
    return Choice(best if harmless and gained else None, best, (min(as_good), max(as_good)), harmless)


def _by_rate(cells: Sequence[dict[str, Any]]) -> dict[float, list[dict[str, Any]]]:
    rates = sorted({cell["rate"] for cell in cells})
    return {rate: [cell for cell in cells if cell["rate"] == rate] for rate in rates}


def figure_of(data: dict[str, Any]) -> tuple[float, Interval, int]:
    """Return the recommended rate; the one that gains most where none is."""
    choice = chosen(data["cells"], data["base"], data["bounds"])
    seeds = {cell["seed"] for cell in data["cells"]}
    return choice.best, choice.as_good, len(data["base"]["follow"]) * len(seeds)


def report_of(setting: Setting, cells: list[dict[str, Any]], base: dict[str, list[float]]) -> Report:
    """Return the report of some cells."""
    bounds = bounds_of(setting.config.guard)
    choice = chosen(cells, base, bounds)
    data = {"cells": cells, "base": base, "bounds": bounds, "recommended": choice.rate}
    value, interval, items = figure_of(data)
    return setting.report(
        name="lr",
        question=QUESTION,
        answer=_answer(cells, base, choice, setting.training.learning_rate),
        measured="recommended learning rate" if choice.rate else "learning rate with the largest gain",
        value=value,
        interval=interval,
        n=items,
        method=_METHOD,
        limits=_LIMITS,
        tables=(_table(cells, base, choice),),
        data=data,
    )


def _answer(
    cells: list[dict[str, Any]], base: dict[str, list[float]], choice: Choice, configured: float
) -> str:
    found = changes(_by_rate(cells)[choice.best], base)
    figures = "; ".join(f"{_PARTS[part]} {_said(one)}" for part, one in found.items())
    if choice.rate is None:
        why = "gains measurably" if choice.harmless else "stays within the bounds of harm"
        return (
            f"Not measurable at this size: no rate {why}, so none is recommended."
            f" The largest gain is at {choice.best:g}: {figures}."
        )
    low, high = choice.as_good
    return (
        f"{choice.rate:g} for this model ({configured:g} is configured): {figures}."
        f" Gains that are not measurably smaller without more harm than allowed: {low:g} to {high:g}."
    )


def _said(one: Change) -> str:
    return f"{one.value:+.2g} [{one.interval[0]:+.2g}, {one.interval[1]:+.2g}]"


def _table(cells: list[dict[str, Any]], base: dict[str, list[float]], choice: Choice) -> Table:
    rows = []
    for rate, own in _by_rate(cells).items():
        found = changes(own, base)
        rows.append((rate, *(_said(one) for one in found.values()), rate in choice.harmless))
    columns = ("rate", *_PARTS.values(), "harmless")
    return Table(title="Change against the base, with 95 % intervals", columns=columns, rows=tuple(rows))


def picture(data: dict[str, Any]) -> Figure:
    """Gain and every harm by rate, with intervals; bounds are dashed, the recommended rate is dotted."""
    by_rate = {rate: changes(own, data["base"]) for rate, own in _by_rate(data["cells"]).items()}
    figure = Figure(figsize=(3.1 * len(_PARTS), 3.0), layout="constrained")
    for axes, (part, label) in zip(figure.subplots(1, len(_PARTS)), _PARTS.items(), strict=True):
        low, high = zip(*(one[part].interval for one in by_rate.values()), strict=True)
        axes.fill_between(list(by_rate), low, high, alpha=0.25)
        axes.plot(list(by_rate), [one[part].value for one in by_rate.values()], marker="o", markersize=4)
        axes.axhline(0, color="0.7", linewidth=0.8)
        if part in data["bounds"]:
            bound = data["bounds"][part]
            axes.axhline(-bound if part == "facts" else bound, color="tab:red", linestyle="--", linewidth=1)
        if data["recommended"] is not None:
            axes.axvline(data["recommended"], color="tab:green", linestyle=":")
        axes.set_xscale("log")
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("learning rate")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


PICTURES = {"sweep": picture}
