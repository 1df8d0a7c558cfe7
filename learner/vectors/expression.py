"""Expressions over names of vectors: `formal + 0.5*brief - json`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from policies.errors import InputError

MOST = 100.0
"""No behaviour needs more of a vector; a factor beyond it is a slip of the keys."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")
_TERM = re.compile(
    r"\s*([+-])?\s*(?:([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*?\s*)?([A-Za-z][A-Za-z0-9_.]{0,63})\s*"
)


@dataclass(frozen=True)
class Term:
    """A vector times a factor."""

    factor: float
    name: str


def parse_expression(text: str) -> tuple[Term, ...]:
    """Read a sum of multiples of names. A name that comes twice is added up.

    Raises InputError that shows the place that cannot be read.
    """
    factors: dict[str, float] = {}
    place = 0
    while place < len(text) or not factors:
        found = _TERM.match(text, place)
        if found is None or (place and found[1] is None):
            raise InputError(f"{text!r}: cannot read {text[place:]!r}; write sums like `A+0.5*B-C`")
        factor = _number(text, found[2]) * (-1 if found[1] == "-" else 1)
        factors[found[3]] = factors.get(found[3], 0.0) + factor
        place = found.end()
    return tuple(Term(factor, name) for name, factor in factors.items())


def _number(text: str, digits: str | None) -> float:
    try:
        number = 1.0 if digits is None else float(digits)
    except ValueError:
        raise InputError(f"{text!r}: {digits!r} is not a number") from None
    if not math.isfinite(number):
        raise InputError(f"{text!r}: the factor {digits} is not finite")
    return number


def require_name(name: str) -> str:
    """Return a name that can stand in an expression and as a file. Raises InputError for another."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a vector: a letter, then at most 63 letters, digits, `_` or `.` (no `-`:"
            " it would be a minus in an expression)"
        )
    return name


def require_scale(scale: float) -> float:
    """Return a scale. Raises InputError for one that is not finite, 0, or beyond any sense."""
    if not math.isfinite(scale) or scale == 0 or abs(scale) > MOST:
        raise InputError(f"a scale of {scale} makes no sense: give a number, not 0, up to {MOST:.0f}")
    return scale
