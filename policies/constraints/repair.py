"""Edit an answer until it keeps several constraints at once."""

from __future__ import annotations

from collections.abc import Sequence

from policies.constraints.constraint import Constraint

_ROUNDS = 4


def broken(text: str, constraints: Sequence[Constraint]) -> list[Constraint]:
    """Return the constraints that the text is known not to keep."""
    return [constraint for constraint in constraints if constraint.check(text) is False]


def repair_all(text: str, constraints: Sequence[Constraint]) -> str | None:
    """Return an edit of the text that breaks none of the constraints, or None.

    One repair may break another constraint, so they go round a few times, those about shape last.
    """
    order = sorted(constraints, key=lambda constraint: constraint.group == "shape")
    for _ in range(_ROUNDS):
        failing = broken(text, order)
        if not failing:
            return text
        edited = failing[0].repair(text)
        if edited is None:
            return None
        text = edited
    return text if not broken(text, order) else None
