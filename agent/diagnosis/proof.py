"""The checks of `run.py doctor --model M`, as they come in from a live server of that model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Protocol

from agent.diagnosis.finding import Finding, Verdict
from policies.config import ServerConfig


class Check(Protocol):
    """One thing that must hold for the weights of a model to be live; the learner makes them."""

    @property
    def name(self) -> str:
        """What was checked."""

    @property
    def passed(self) -> bool:
        """Whether it holds."""

    @property
    def detail(self) -> str:
        """What was found."""

    @property
    def advice(self) -> str:
        """What to do where it does not hold."""


Prove = Callable[[ServerConfig], Iterable[Check]]
"""Serves a model for a moment and checks it; `learner.proof.prove`, handed in by the command line."""


def findings_of(checks: Iterable[Check]) -> list[Finding]:
    """Turn checks into findings, and name each on stderr as it comes: a large model takes minutes."""
    found = []
    for check in checks:
        sys.stderr.write(f"{check.name}: {'ok' if check.passed else 'failed'}\n")
        verdict: Verdict = "ok" if check.passed else "failed"
        found.append(Finding(check.name, verdict, check.detail, check.advice))
    return found
