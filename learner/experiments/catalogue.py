"""The experiments by name. Each is a module with QUESTION, PICTURES, `run(setting)` and `figure_of(data)`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from learner.experiments.intervals import Interval
from learner.experiments.report import Draw, Report
from learner.experiments.setting import Setting
from policies.errors import InputError

NAMES = ("examples", "gdn-state", "steering", "lr", "transfer", "mechanisms")


class Experiment(Protocol):
    """A module of `learner.experiments` that answers one question."""

    QUESTION: str
    PICTURES: Mapping[str, Draw]

    def run(self, setting: Setting) -> Report:
        """Measure, and say what was found."""
        ...

    def figure_of(self, data: dict[str, Any]) -> tuple[float, Interval, int]:
        """Work out the report's figure from its `data` alone: value, 95 % interval, number of items."""
        ...


def experiment(name: str) -> Experiment:
    """Import one experiment. Raises InputError for an unknown name."""
    if name not in NAMES:
        raise InputError(f"no experiment is called {name!r}: there are {', '.join(NAMES)}")
    return cast(Experiment, import_module(f"learner.experiments.{name.replace('-', '_')}"))
