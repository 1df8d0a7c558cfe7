"""How much the learner may work beside the server, as tables."""

from __future__ import annotations

import pytest

from policies.pacing import (
    PROBING_SHARE,
    UNKNOWN_SHARE,
    DecodeSteps,
    burst,
    rest_after,
    slowdown,
    spare_cpus,
    work_share,
)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([DecodeSteps(100, 3.0, 29, 1.0)], None),
        ([DecodeSteps(100, 3.0, 0, 0.0), DecodeSteps(0, 0.0, 100, 9.0)], None),  # nothing to compare with
        ([DecodeSteps(100, 3.0, 100, 3.0)], 0.0),
        ([DecodeSteps(100, 3.0, 50, 1.8)], 0.2),
        # large batches are slower by themselves; they are not compared with small ones
        ([DecodeSteps(90, 0.9, 10, 0.1), DecodeSteps(10, 1.0, 90, 9.0)], 0.0),
    ],
)
def test_the_slowdown_compares_like_with_like(steps: list[DecodeSteps], expected: float | None) -> None:
    assert slowdown(steps) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("requests", "measured", "expected"),
    [
        (0, None, 1.0),
        (0, 9.0, 1.0),
        (1, None, UNKNOWN_SHARE),
        (1, -0.3, PROBING_SHARE),
        (1, 0.05, PROBING_SHARE),
        (3, 0.1, 0.5),
        (3, 0.25, 0.2),
        (3, 5.0, 0.1),  # the floor: always some progress
    ],
)
def test_the_share_keeps_the_mean_slowdown_in_its_budget(
    requests: int, measured: float | None, expected: float
) -> None:
    share = work_share(requests, measured, budget=0.05, floor=0.1)
    assert share == pytest.approx(expected)
    if requests and measured and share > 0.1:
        assert share * measured <= 0.05 + 1e-9


def test_rests_make_the_share_and_bursts_span_some_decode_steps() -> None:
    assert rest_after(0.2, 0.5) == pytest.approx(0.2)
    assert rest_after(0.3, 0.1) == pytest.approx(2.7)
    assert rest_after(0.3, 1.0) == 0.0
    assert burst(None) == 0.2
    assert burst(0.03) == pytest.approx(0.15)
    assert (burst(1e-4), burst(3.0)) == (0.02, 0.5)


@pytest.mark.parametrize(
    ("cores", "server", "learner", "expected"),
    [
        ([[0], [1]], 1, 1, set()),
        ([[0], [1], [2]], 1, 1, {2}),
        ([[0, 4], [1, 5], [2, 6], [3, 7]], 1, 2, {2, 6, 3, 7}),
        ([[0, 4], [1, 5], [2, 6], [3, 7]], 2, 2, set()),
    ],
)
def test_the_learner_gets_whole_cores_of_its_own_where_some_are_to_spare(
    cores: list[list[int]], server: int, learner: int, expected: set[int]
) -> None:
    assert spare_cpus(cores, server, learner) == expected
