"""How strong an instant vector is made."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from learner.steering.strength import LEAST, MOST, TRIES, as_strong_as

ALLOWED = 1.12


def counted(cost: Callable[[float], float]) -> tuple[Callable[[float], float], list[float]]:
    asked: list[float] = []

    def asking(scale: float) -> float:
        asked.append(scale)
        return cost(scale)

    return asking, asked


@pytest.mark.parametrize("steepness", [0.001, 0.01, 0.05, 0.3, 2.0])
@pytest.mark.parametrize("power", [1.5, 2.0, 4.0])
def test_the_scale_costs_what_is_allowed_and_not_more(steepness: float, power: float) -> None:
    cost, asked = counted(lambda scale: 1 + steepness * scale**power)
    found = as_strong_as(cost, ALLOWED)
    assert 1 + 0.4 * (ALLOWED - 1) <= cost(found) <= ALLOWED
    assert len(asked) - 1 <= TRIES


def test_a_harmless_vector_is_as_strong_as_it_may_be() -> None:
    cost, asked = counted(lambda _: 0.99)
    assert as_strong_as(cost, ALLOWED) == MOST
    assert asked == [2.0, 8.0, 16.0]


@pytest.mark.parametrize("ratio", [5.0, math.nan, math.inf])
def test_a_vector_that_always_harms_is_the_weakest(ratio: float) -> None:
    assert as_strong_as(lambda _: ratio, ALLOWED) == LEAST


def test_a_cost_that_leaps_is_approached_from_below() -> None:
    cost, _ = counted(lambda scale: 1.001 if scale < 3 else 9.0)
    assert 2.0 <= as_strong_as(cost, ALLOWED) < 3
