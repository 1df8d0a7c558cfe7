"""The experiments by name. Each is a module with QUESTION, PICTURES and `run(setting) -> Report`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

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


def experiment(name: str) -> Experiment:
    """Import one experiment. Raises InputError for an unknown name."""
    if name not in NAMES:
        raise InputError(f"no experiment is called {name!r}: there are {', '.join(NAMES)}")
    return cast(Experiment, import_module(f"learner.experiments.{name.replace('-', '_')}"))
