"""The report of an experiment: one folder with `report.json`, `report.md` and pictures, nothing else needed.

Pictures are drawn from `report.json` alone, so that anybody can recompute them.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field

from learner.live.products import multiplies_bfloat16
from policies.errors import InputError

JSON, MARKDOWN = "report.json", "report.md"
Draw = Callable[[dict[str, Any]], Figure]
"""Draws one picture from `Report.data`."""


def _machine() -> str:
    """Return what the seconds of a report depend on."""
    bfloat16 = "with" if multiplies_bfloat16() else "without"
    threads = torch.get_num_threads()
    return f"{platform.machine()}, {os.cpu_count()} CPUs {bfloat16} bfloat16 products, {threads} threads"


class Table(BaseModel):
    """A table of the report; numbers are rounded when it is written."""

    model_config = ConfigDict(frozen=True)

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | bool | None, ...], ...]


class Report(BaseModel):
    """What an experiment found. `answer` is plain, and may be no or not measurable at this size.

    `measured` names the figure behind the answer; `value`, its 95 % `interval` and its `n` items are that
    figure's. `data` is all that tables and pictures are made of. `toy` marks a stand-in or too few items.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    question: str
    answer: str
    measured: str
    value: float
    interval: tuple[float, float]
    n: int
    seeds: tuple[int, ...]
    method: tuple[str, ...]
    limits: tuple[str, ...] = ()
    toy: bool = False
    quick: bool = False
    model: str
    model_hash: str
    seconds: float
    commit: str
    machine: str = Field(default_factory=_machine)
    tables: tuple[Table, ...] = ()
    data: dict[str, Any]


def write(report: Report, pictures: Mapping[str, Draw], folder: Path) -> None:
    """Write the report into `folder`, which is made; `pictures` by file name without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(report.model_dump_json(indent=1) + "\n")
    drawn(report, pictures, folder)
    (folder / MARKDOWN).write_text(as_markdown(report, tuple(pictures)))


def drawn(report: Report, pictures: Mapping[str, Draw], folder: Path) -> None:
    """Draw the pictures of a report, again if they are there."""
    for name, draw in pictures.items():
        draw(report.data).savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")


def read(folder: Path) -> Report:
    """Read a report back. Raises InputError where there is none."""
    path = folder / JSON
    if not path.exists():
        raise InputError(f"{path} is not there: {folder} holds no report of an experiment")
    try:
        return Report.model_validate_json(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no report: {str(error).splitlines()[0]}") from error


def is_whole(report: Report) -> bool:
    """Tell whether a report says what it found, on how many items and seeds, and how surely."""
    finite = all(map(math.isfinite, (report.value, *report.interval)))
    return finite and report.n > 0 and bool(report.seeds) and bool(report.answer.strip())


def figure_line(report: Report) -> str:
    """Return the figure behind the answer, with its interval, n, seeds and marks."""
    low, high = report.interval
    marks = [word for word, on in (("toy", report.toy), ("quick", report.quick)) if on]
    marked = f" This run is marked: {', '.join(marks)}." if marks else ""
    return (
        f"{report.measured[:1].upper()}{report.measured[1:]}: {report.value:.3g} (95 % interval {low:.3g} to"
        f" {high:.3g}, n {report.n}, seeds {', '.join(map(str, report.seeds))}).{marked}"
    )


def as_markdown(report: Report, pictures: Sequence[str]) -> str:
    """Return the report as text for people."""
    parts = [
        f"# {report.question}",
        f"**Answer.** {report.answer}",
        figure_line(report),
        *(f"![{name}]({name}.png)" for name in pictures),
        *(_table(table) for table in report.tables),
        "## Method\n\n" + "\n".join(f"- {line}" for line in report.method),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in report.limits) if report.limits else "",
        f"Model {report.model} ({report.model_hash[:12]}), commit {report.commit}, {report.machine},"
        f" {report.seconds:.0f} s. Every figure is made of `{JSON}`:"
        f" `run.py experiment redraw FOLDER` draws them again.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    lines = [
        f"**{table.title}**",
        "",
        f"| {' | '.join(table.columns)} |",
        "|" + "---|" * len(table.columns),
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in table.rows),
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|")
