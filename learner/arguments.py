"""The arguments of a command: what came over the bus or from the command line, as the type that is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.errors import InputError

Handler = Callable[[dict[str, Any]], dict[str, Any]]
"""Carries out a command: its arguments in, what the answer says out."""


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
