"""The guard's rules, case by case."""

from __future__ import annotations

import math

import pytest

from policies.config import GuardConfig
from policies.guard import Judgement, judge, noise_floor

CONFIG = GuardConfig()
Scores = dict[str, dict[str, float]]


def scores(**probes: list[float]) -> Scores:
    return {name: {str(i): value for i, value in enumerate(values)} for name, values in probes.items()}


BASE = scores(
    nll=[2.0, 2.5, 3.0, 2.2] * 2,
    facts=[1.0] * 20 + [0.0] * 4,
    choice=[1.0] * 12,
    own=[1.0] * 20,
    repetition=[0.0] * 8,
)


def look_often(now: Scores, times: int) -> Judgement:
    judged = judge(now, BASE, BASE, CONFIG)
    for _ in range(times - 1):
        judged = judge(now, BASE, BASE, CONFIG, judged.detectors)
    return judged


def test_the_base_itself_passes_however_often_one_looks() -> None:
    judged = look_often(BASE, 1000)
    assert not judged.breach
    assert not judged.suspect
    assert judged.reasons == ()


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (scores(nll=[3.0, 3.9, 4.5, 3.3] * 2), "nll"),
        (scores(facts=[0.0] * 24), "facts"),
        (scores(own=[0.0] * 20), "own"),
        (scores(kl=[2.9, 2.8, 3.1, 2.7] * 2), "kl"),
        (scores(leak=[0.8, 0.9, 0.85, 1.0] * 2), "leak"),
        (scores(follow=[0.0] * 24), "follow"),
        (scores(repetition=[0.9] * 20), "repetition"),
        (scores(entropy=[4.0] * 8), "entropy"),
        (scores(nll=[math.nan] * 4), "nll"),
        (scores(kl=[math.inf] * 4), "kl"),
    ],
)
def test_a_clear_worsening_is_a_breach_at_once_and_says_which(now: Scores, name: str) -> None:
    base = {**BASE, "repetition": dict.fromkeys(now.get("repetition", {}), 0.0)}
    judged = judge(now, base, scores(follow=[1.0] * 24), CONFIG)
    assert judged.breach
    assert judged.broken == (name,)
    assert judged.reasons[0].split()[0] == name


@pytest.mark.parametrize(
    "now",
    [
        scores(nll=[2.04, 2.55, 3.05, 2.24] * 2),  # 2 %, allowed 5
        scores(facts=[1.0] * 19 + [0.0] * 5),  # one of 24
        scores(nll=[1.0, 1.2, 1.5, 1.1] * 2),  # better
        scores(kl=[0.1] * 8, leak=[0.09] * 8, length=[0.2] * 8),
    ],
)
def test_what_is_small_or_better_passes_for_ever(now: Scores) -> None:
    assert not look_often(now, 300).breach


def test_what_one_look_leaves_open_is_suspect_and_further_looks_decide() -> None:
    now = scores(facts=[1.0] * 14 + [0.0] * 10)  # a quarter fallen
    first = judge(now, BASE, BASE, CONFIG, version="v1")
    assert (first.breach, first.suspect) == (False, ("facts",))
    judged = first
    looks = 1
    while not judged.breach and looks < 50:
        judged = judge(now, BASE, BASE, CONFIG, judged.detectors, version=f"v{looks + 1}")
        looks += 1
    assert judged.broken == ("facts",)
    assert judged.since == "v1"


def test_only_items_that_both_runs_have_are_compared() -> None:
    now = {"facts": {"new question": 0.0}, "follow": {"new example": 0.0}}
    assert not judge(now, BASE, scores(follow=[1.0]), CONFIG).detectors


def test_the_noise_of_checks_without_a_change_is_allowed_on_top() -> None:
    noisy = scores(facts=[1.0] * 17 + [0.0] * 7, kl=[0.01] * 8)
    floor = noise_floor([BASE, noisy], BASE)
    assert floor == {
        "nll": 0.0,
        "facts": pytest.approx(3 / 24),
        "choice": 0.0,
        "own": 0.0,
        "repetition": 0.0,
        "kl": pytest.approx(0.01),
    }
    now = scores(facts=[1.0] * 16 + [0.0] * 8)
    assert judge(now, BASE, BASE, CONFIG).suspect
    assert not judge(now, BASE, BASE, CONFIG, floor=floor).suspect
