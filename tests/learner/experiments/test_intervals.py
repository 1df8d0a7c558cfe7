"""Intervals: they find a planted effect, let a null one be, and pair what is paired."""

import random
from statistics import fmean

import pytest

from learner.experiments.intervals import mean, minus, of_grid, of_rates, of_share, sign


def noise(seeds: int, items: int, shift: float) -> list[list[float]]:
    draw = random.Random(7)
    return [[draw.gauss(shift, 1) for _ in range(items)] for _ in range(seeds)]


def test_a_planted_effect_is_found_and_a_null_one_is_not() -> None:
    assert sign(of_grid(noise(2, 100, 0.6))) == 1
    assert sign(of_grid(noise(2, 100, -0.6))) == -1
    assert sign(of_grid(noise(2, 100, 0.0))) == 0


def test_pairing_finds_what_the_spread_of_items_would_hide() -> None:
    easy = [[float(i) for i in range(50)]]
    moved = [[value + 0.1 + 0.05 * (i % 2) for i, value in enumerate(easy[0])]]
    low, high = of_grid(minus(moved, easy))
    assert 0.1 <= low < 0.125 < high <= 0.15
    assert of_grid(easy)[0] < mean(moved) < of_grid(easy)[1]


def test_seeds_that_disagree_widen_an_interval() -> None:
    agree = [[0.4] * 30, [0.6] * 30]
    apart = [[0.0] * 30, [1.0] * 30]
    assert of_grid(agree) == (pytest.approx(0.4), pytest.approx(0.6))
    assert of_grid(apart) == (0.0, 1.0)


def test_an_interval_is_the_same_each_time_and_covers_as_often_as_it_says() -> None:
    grid = noise(1, 40, 0.0)
    assert of_grid(grid) == of_grid(grid)
    draw, covered = random.Random(3), 0
    for _ in range(60):
        low, high = of_grid([[draw.gauss(0, 1) for _ in range(40)]])
        covered += low <= 0 <= high
    assert covered >= 52


def test_wilson_and_students_t_give_known_values() -> None:
    assert of_share(0.5, 100) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    low, high = of_rates([0.4, 0.5, 0.6], 30)
    assert fmean((low, high)) == pytest.approx(0.5)
    assert high - 0.5 == pytest.approx(4.303 * 0.1 / 3**0.5)
