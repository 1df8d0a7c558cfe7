"""From a curve to its threshold: the fit rises, and the crossing is where the effect was planted."""

import pytest

from learner.experiments.intervals import between
from learner.experiments.monotone import crossing, crossings, margins_of, monotone

COUNTS = (1, 3, 10, 30)


def gains(*shares: float) -> list[list[list[float]]]:
    """Two seeds of 40 items; so many of them are gained at each count."""
    return [[[float(i < share * 40) for i in range(40)] for _ in range(2)] for share in shares]


def found(*shares: float) -> int | None:
    grids = gains(*shares)
    return crossing(COUNTS, shares, margins_of(grids))


def test_the_fit_is_the_closest_rising_sequence() -> None:
    assert monotone([1, 2, 3]) == [1, 2, 3]
    assert monotone([1, 3, 2, 4]) == [1, 2.5, 2.5, 4]
    assert monotone([3, 2, 1]) == [2, 2, 2]
    assert monotone([0.0, 0.9, 0.0, 0.9]) == [0.0, pytest.approx(0.45), pytest.approx(0.45), 0.9]


def test_the_threshold_is_where_the_effect_begins() -> None:
    assert found(0, 0, 0.5, 0.9) == 10
    assert found(0.9, 0.9, 0.9, 1) == 1
    assert found(0, 0, 0, 0) is None
    assert found(0, 0, 0.025, 0.025) is None


def test_the_interval_of_a_threshold_is_narrow_where_the_effect_is_plain_and_wide_where_not() -> None:
    plain, unsure = gains(0, 0, 0.6, 0.9), gains(0, 0.1, 0.15, 0.9)
    assert between(crossings(COUNTS, plain, margins_of(plain))) == (10, 10)
    low, high = between(crossings(COUNTS, unsure, margins_of(unsure)))
    assert low < high
    assert high <= 30


def test_a_threshold_that_is_never_reached_counts_as_the_largest_count() -> None:
    none = gains(0, 0, 0, 0)
    assert set(crossings(COUNTS, none, margins_of(none))) == {30.0}
