"""The evidence: small under the null however often one looks, large for a fall, certain without a number."""

from __future__ import annotations

import math
import random

import pytest

from policies.evidence import Detector, observe

ALLOWED, LOWEST, ALARM = 0.05, -1.0, 100.0


def checks_to_alarm(fall: float, seed: int, most: int) -> int | None:
    draw = random.Random(seed)
    detector = Detector()
    for number in range(1, most + 1):
        items = [float(draw.random() < fall) for _ in range(24)]
        detector = observe(detector, items, allowed=ALLOWED, lowest=LOWEST, version="v")
        if detector.evidence >= ALARM:
            return number
    return None


def test_at_the_limit_of_what_is_allowed_alarms_are_as_rare_as_promised_whatever_the_number_of_looks() -> (
    None
):
    most = 60
    alarms = sum(checks_to_alarm(ALLOWED, seed, most) is not None for seed in range(200))
    assert alarms / (200 * most) <= 1 / ALARM


def test_a_larger_fall_is_found_sooner_and_a_large_one_at_once() -> None:
    small = [checks_to_alarm(0.3, seed, 200) for seed in range(20)]
    large = [checks_to_alarm(0.9, seed, 200) for seed in range(20)]
    assert all(found is not None for found in small)
    assert set(large) == {1}
    assert sum(found or 0 for found in small) > sum(found or 0 for found in large)


def test_the_evidence_says_since_which_version_and_forgets_it_when_things_are_well_again() -> None:
    bad = observe(Detector(), [1.0] * 4, allowed=ALLOWED, lowest=LOWEST, version="v1")
    worse = observe(bad, [1.0] * 4, allowed=ALLOWED, lowest=LOWEST, version="v2")
    assert (bad.since, worse.since) == ("v1", "v1")
    well = observe(worse, [-1.0] * 90, allowed=ALLOWED, lowest=LOWEST, version="v3")
    assert max(well.logs) < 0
    assert observe(well, [1.0] * 4, allowed=ALLOWED, lowest=LOWEST, version="v4").since == "v4"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_certain(value: float) -> None:
    assert observe(Detector(), [0.0, value], allowed=0.1, lowest=0.0, version=None).evidence > 1e100
