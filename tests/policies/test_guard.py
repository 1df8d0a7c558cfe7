"""The guard's rules, case by case."""

from __future__ import annotations

import math

import pytest

from policies.config import GuardConfig
from policies.guard import judge

CONFIG = GuardConfig()


def scores(**probes: list[float]) -> dict[str, dict[str, float]]:
    return {name: {str(i): value for i, value in enumerate(values)} for name, values in probes.items()}


BASE = scores(nll=[2.0, 2.5, 3.0, 2.2], facts=[1.0] * 8 + [0.0] * 2, kl=[0.0] * 4)


def test_the_base_itself_passes() -> None:
    judged = judge(BASE, BASE, BASE, CONFIG)
    assert not judged.breach
    assert judged.reasons == ()


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (scores(nll=[2.4, 3.0, 3.5, 2.7]), "nll"),
        (scores(facts=[0.0] * 5 + [1.0] * 3 + [0.0] * 2), "facts"),
        (scores(kl=[0.9, 0.8, 1.1, 0.7]), "kl"),
        (scores(leak=[0.5, 0.6, 0.55, 0.7]), "leak"),
        (scores(follow=[0.0] * 6 + [1.0] * 2), "follow"),
        (scores(nll=[math.nan] * 4), "nll"),
        (scores(kl=[math.inf] * 4), "kl"),
    ],
)
def test_a_clear_worsening_is_a_breach_and_says_which(now: dict[str, dict[str, float]], name: str) -> None:
    judged = judge(now, BASE, scores(follow=[1.0] * 8), CONFIG)
    assert judged.breach
    assert [reason.split()[0] for reason in judged.reasons] == [name]


@pytest.mark.parametrize(
    "now",
    [
        scores(nll=[2.04, 2.55, 3.05, 2.24]),  # 2 %, allowed 5
        scores(facts=[1.0] * 7 + [0.0] * 3),  # one of ten
        scores(nll=[1.0, 1.2, 1.5, 1.1]),  # better
        scores(nll=[2.0, 2.5, 4.2, 2.2]),  # one text alone: within two standard errors
    ],
)
def test_what_is_small_or_one_item_alone_passes(now: dict[str, dict[str, float]]) -> None:
    assert not judge(now, BASE, BASE, CONFIG).breach


def test_only_items_that_both_runs_have_are_compared() -> None:
    now = {"facts": {"new question": 0.0}, "follow": {"new example": 0.0}}
    assert not judge(now, BASE, scores(follow=[1.0]), CONFIG).breach
