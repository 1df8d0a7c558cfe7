"""Does learning to heed change what was not trained? Backward transfer to tasks and to other directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from learner.experiments import material
from learner.experiments.course import corrections_of, learn
from learner.experiments.directions import BULLETS, CLOSING, JSON_KEY, LOWERCASE, SHORT, Direction
from learner.experiments.harm import Change, change
from learner.experiments.heeding import followed
from learner.experiments.intervals import Interval, sign
from learner.experiments.progress import Progress
from learner.experiments.report import Report, Table
from learner.experiments.setting import Setting
from learner.experiments.tasks import KINDS, Task, leads, load_tasks

QUESTION = "Does learning to heed change what was not trained?"
TAUGHT = (JSON_KEY, CLOSING, SHORT)
UNTAUGHT = (LOWERCASE, BULLETS)
_NAMES = {"choice": "multiple choice", "arithmetic": "arithmetic", "code": "code"}
_METHOD = (
    "The base model is trained by the product's own trainer on corrections of three directions (json_key,"
    " closing, short), each seed on other ones, without rehearsal.",
    "Tasks: everyday multiple choice, one-step arithmetic, one-line Python functions; four answers each, no"
    " direction. Right is where the right answer has the highest mean log-likelihood a token in the chat"
    " template. None is a question that is corrected, replayed or probed.",
    "Other directions: lowercase and bullets, which are not taught; held-out questions, greedy, checked by"
    " code.",
    "Backward transfer is the score after less the score before on the same items; 95 % intervals by paired"
    " bootstrap over seeds and items. The lead is the log-likelihood by which the right answer leads.",
)
_LIMITS = (
    "Several parts are compared, each at 95 %: one of twenty would seem to change by chance.",
    "One set of taught directions; a direction unlike all of them may behave differently.",
)


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    taught: tuple[Direction, ...]
    corrections: int
    questions: int
    tasks: int | None
    tokens: int = 48


QUICK = Plan(TAUGHT, 12, 16, 40)
FULL = Plan(TAUGHT, 30, 40, None)

Scores = dict[str, list[float]]
"""By part, a score for every item."""


def run(setting: Setting) -> Report:
    """Score the base, train each seed, score again, and compare item by item."""
    plan = QUICK if setting.quick else FULL
    tasks = {kind: _spread(load_tasks(kind), plan.tasks) for kind in KINDS}
    models = setting.models
    progress = Progress(setting.tell, 1 + 2 * len(setting.seeds))
    base = _scores(setting, plan, tasks, trained=False)
    progress.done("the base is scored")
    trained: list[Scores] = []
    for seed in setting.seeds:
        models.reset()
        corrections = corrections_of(models, plan.taught, plan.corrections, seed)
        learned = learn(models, corrections, setting.pool, setting.training, seed)
        progress.done(f"seed {seed}: {learned.steps} steps on {len(corrections)} corrections")
        trained.append(_scores(setting, plan, tasks, trained=True))
        progress.done(f"seed {seed} is scored")
    return report_of(setting, base, trained)


def _spread(tasks: list[Task], count: int | None) -> list[Task]:
    """Return `count` tasks from all over the list; None for all."""
    return tasks if count is None else tasks[:: max(1, len(tasks) // count)][:count]


def _scores(setting: Setting, plan: Plan, tasks: dict[str, list[Task]], *, trained: bool) -> Scores:
    """Return 0 or 1 for every task and prompt, and the lead of every task's right answer."""
    models = setting.models
    model = models.model if trained else models.base
    lead = {kind: leads(model, models.tokenizer, found) for kind, found in tasks.items()}
    questions = material.HELD_OUT[: plan.questions]
    heeded = followed(model, models.tokenizer, (*plan.taught, *UNTAUGHT), questions, plan.tokens)
    return {
        **{kind: [float(value > 0) for value in values] for kind, values in lead.items()},
        **{f"lead/{kind}": values for kind, values in lead.items()},
        "taught": [hit for d in plan.taught for hit in heeded[d.name]],
        **{f"other/{d.name}": heeded[d.name] for d in UNTAUGHT},
    }


def untrained(scores: Scores) -> list[str]:
    """Return the parts that were not trained and are shares: tasks and other directions."""
    return [part for part in scores if part != "taught" and not part.startswith("lead/")]


def _changes(base: Scores, trained: Sequence[Scores]) -> dict[str, Change]:
    return {part: change([scores[part] for scores in trained], values) for part, values in base.items()}


def _all_tasks(scores: Scores) -> list[float]:
    return [value for kind in KINDS for value in scores[kind]]


def figure_of(data: dict[str, Any]) -> tuple[float, Interval, int]:
    """Return the change of accuracy over all tasks."""
    base, trained = data["base"], data["trained"]
    overall = change([_all_tasks(scores) for scores in trained], _all_tasks(base))
    return overall.value, overall.interval, len(_all_tasks(base)) * len(trained)


def report_of(setting: Setting, base: Scores, trained: Sequence[Scores]) -> Report:
    """Return the report of the scores before and after."""
    found = _changes(base, trained)
    data = {"base": base, "trained": list(trained)}
    value, interval, items = figure_of(data)
    return setting.report(
        name="transfer",
        question=QUESTION,
        answer=answer(found, untrained(base), Change(value, interval)),
        measured="change in accuracy over all tasks that were not trained",
        value=value,
        interval=interval,
        n=items,
        method=_METHOD,
        limits=_LIMITS,
        tables=(_table(base, found, len(trained)),),
        data=data,
    )


def answer(found: dict[str, Change], parts: Sequence[str], overall: Change) -> str:
    """Say what improved, what fell, and what the intervals cannot tell."""
    if sign(found["taught"].interval) <= 0:
        return (
            "Not measurable at this size: the taught directions themselves are not followed measurably more"
            f" often ({_said(found['taught'])}), so there is nothing to transfer."
        )
    better = [part for part in parts if sign(found[part].interval) > 0]
    worse = [part for part in parts if sign(found[part].interval) < 0]
    same = [part for part in parts if part not in (*better, *worse)]
    verdict = {
        (True, True): "Yes, both ways.",
        (True, False): "Yes, in part.",
        (False, True): "Yes, for the worse.",
        (False, False): "Not measurable at this size.",
    }[bool(better), bool(worse)]
    kinds = (("Better", better), ("Worse", worse), ("No measurable change", same))
    lists = [f"{kind}: {', '.join(_part(p, found) for p in each)}." for kind, each in kinds if each]
    return (
        f"{verdict} The taught directions gain {_said(found['taught'])}; accuracy over all tasks changes by"
        f" {_said(overall)}. {' '.join(lists)}"
    )


def _part(part: str, found: dict[str, Change]) -> str:
    return f"{_name(part)} {_said(found[part])}"


def _name(part: str) -> str:
    kind, _, rest = part.rpartition("/")
    name = _NAMES.get(rest, rest)
    return f"lead in {name}, nats" if kind == "lead" else f"{name} (not taught)" if kind else name


def _said(one: Change) -> str:
    return f"{one.value:+.3f} [{one.interval[0]:+.3f}, {one.interval[1]:+.3f}]"


def _table(base: Scores, found: dict[str, Change], seeds: int) -> Table:
    rows = []
    for part, values in base.items():
        before, one = sum(values) / len(values), found[part]
        rows.append((_name(part), before, before + one.value, one.value, *one.interval, len(values) * seeds))
    columns = ("what", "before", "after", "change", "low", "high", "n")
    return Table(title="Before and after", columns=columns, rows=tuple(rows))


def picture(data: dict[str, Any]) -> Figure:
    """Backward transfer by part with intervals: what was taught, and what was not."""
    found = _changes(data["base"], data["trained"])
    parts = ["taught", *reversed(untrained(data["base"]))]
    figure = Figure(figsize=(6.4, 0.42 * len(parts) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, part in enumerate(parts):
        one, colour = found[part], "tab:green" if part == "taught" else "tab:blue"
        axes.plot(one.interval, (place, place), color=colour, linewidth=3, alpha=0.4)
        axes.plot(one.value, place, "o", color=colour)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_yticks(range(len(parts)), [_name(part) for part in parts])
    axes.set_xlabel("change in the share that is right or followed, after less before")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


PICTURES = {"transfer": picture}
