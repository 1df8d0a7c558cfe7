from __future__ import annotations

import random

import pytest

from policies.label import Label
from policies.labelling.calibration import Calibration, fit_calibration, recalibrated, reliability

DRAWN = random.Random(3)


def outcomes(n: int, exponent: float) -> list[tuple[float, bool]]:
    """Return confidences, each right with the probability that lies `exponent` times as far from even."""
    found = []
    for _ in range(n):
        odds = DRAWN.uniform(-3, 3)
        claimed, true = (1 / (1 + 2.718281828 ** -(factor * odds)) for factor in (1.0, exponent))
        found.append((claimed, DRAWN.random() < true))
    return found


def test_good_confidence_is_left_alone() -> None:
    slope, intercept = fit_calibration(outcomes(3000, 1.0))
    assert (slope, intercept) == (pytest.approx(1, abs=0.15), pytest.approx(0, abs=0.15))


def test_overconfidence_is_taken_back() -> None:
    slope, _ = fit_calibration(outcomes(3000, 0.5))
    assert slope == pytest.approx(0.5, abs=0.1)
    assert Calibration(labeller="x", slope=slope).calibrated(0.95) < 0.85


def test_few_rows_change_little() -> None:
    slope, intercept = fit_calibration([(0.9, False), (0.9, False)])
    assert Calibration(labeller="x", slope=slope, intercept=intercept).calibrated(0.9) > 0.7
    assert fit_calibration([]) == (1.0, 0.0)


def test_nothing_is_certain_but_a_correction() -> None:
    assert Calibration(labeller="x").calibrated(1.0) < 1.0


def test_labeller_of_weight_zero_has_no_vote() -> None:
    def vote(labeller: str) -> Label:
        return Label(
            decision_id="d#0", direction_id=None, verdict="ignored", confidence=0.9, labeller=labeller
        )

    believed = {"judge": Calibration(labeller="judge", weight=0)}
    assert recalibrated([vote("judge"), vote("reaction")], believed) == (vote("reaction"),)
    (halved,) = recalibrated([vote("judge")], {"judge": Calibration(labeller="judge", weight=0.5)})
    assert halved.confidence == pytest.approx(0.45, abs=0.001)


def test_reliability_counts_each_row_once() -> None:
    curve = reliability([(0.5, True), (0.55, False), (0.95, True), (1.0, True)])
    assert [(p["from"], p["n"], p["right"]) for p in curve] == [(0.5, 2, 0.5), (0.9, 2, 1.0)]
