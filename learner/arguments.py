"""A command in hand: what came over the bus or from the command line, as the type that is needed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from policies.errors import InputError
from store import commands
from store.commands import Progress


@dataclass(frozen=True)
class Order:
    """A command that is carried out now. `before` is how far it came until the learner was killed.

    Who writes a version for it calls `applied` in the version's own transaction: a command counts once.
    """

    event_id: str
    args: dict[str, Any]
    before: Progress = field(default_factory=Progress)

    def applied(self, connection: sqlite3.Connection, result: dict[str, Any]) -> None:
        """Record that nothing of it is left to do; `result` is what can be answered already."""
        commands.apply(connection, self.event_id, result)

    def part_done(self, connection: sqlite3.Connection, parts: list[dict[str, Any]]) -> None:
        """Record which parts of it need not be done again."""
        known = self.before.model_copy(update={"parts": tuple(parts)})
        commands.keep(connection, self.event_id, known)


Handler = Callable[[Order], dict[str, Any]]
"""Carries out a command; returns what the answer says."""


def text_of(arguments: dict[str, Any], name: str) -> str:
    """Return a text argument. Raises InputError where it is missing or no text."""
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"args.{name} must be a text, not {value!r}")
    return value.strip()


def number_of(arguments: dict[str, Any], name: str, default: float) -> float:
    """Return a number. Raises InputError where it is something else."""
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"args.{name} must be a number, not {value!r}")
    return float(value)
