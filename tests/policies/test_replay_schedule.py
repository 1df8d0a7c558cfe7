from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import TrainingConfig
from policies.errors import GuardRefused
from policies.replay import Candidate, compose, replay_share
from policies.schedule import learning_rate, planned_steps, round_starts

GENERAL = [Candidate(f"g{n}") for n in range(5)]


def corrections(count: int, *, twins: bool = True, quota: int = 4) -> list[Candidate]:
    return [Candidate(f"c{n}", quota=quota, has_twin=twins) for n in range(count)]


def kinds(rows: tuple[object, ...]) -> list[str]:
    return [row.kind for row in rows]  # type: ignore[attr-defined]


def test_two_corrections_a_twin_and_a_general() -> None:
    rows = compose(corrections(6), GENERAL, 4, random.Random(0))
    assert kinds(rows) == ["correction", "correction", "twin", "general"]
    assert rows[2].example_id in {rows[0].example_id, rows[1].example_id}
    assert rows[0].example_id != rows[1].example_id


def test_without_twins_a_third_correction() -> None:
    rows = compose(corrections(6, twins=False), GENERAL, 4, random.Random(0))
    assert kinds(rows) == ["correction"] * 3 + ["general"]
    assert len({row.example_id for row in rows}) == 4


def test_reminders_take_their_share_of_the_corrections_and_never_the_last_place() -> None:
    earlier = [Candidate(f"e{n}") for n in range(3)]
    draw = random.Random(0)
    rows = [row for _ in range(400) for row in compose(corrections(6), GENERAL, 4, draw, earlier, 0.25)]
    found = Counter(row.kind for row in rows)
    assert found["twin"] == found["general"] == 400
    # two places a batch, each with a chance of 1/4, but never both
    assert 0.38 < found["reminder"] / 400 < 0.50
    assert {row.example_id for row in rows if row.kind == "reminder"} == {"e0", "e1", "e2"}
    for number in range(20):
        always = compose(corrections(6), GENERAL, 4, random.Random(number), earlier, 0.99)
        assert kinds(always).count("correction") >= 1


def test_the_least_reminded_is_next_and_without_new_corrections_nothing_is() -> None:
    earlier = [Candidate("often", uses=3), Candidate("never", uses=0), Candidate("once", uses=1)]
    rows = compose(corrections(6), GENERAL, 4, random.Random(1), earlier, 0.99)
    assert [row.example_id for row in rows if row.kind == "reminder"] == ["never"]
    assert compose([], GENERAL, 4, random.Random(1), earlier, 0.99) == ()


def test_without_a_share_nothing_is_drawn_for_reminders() -> None:
    plain = compose(corrections(6), GENERAL, 4, random.Random(5))
    assert compose(corrections(6), GENERAL, 4, random.Random(5), [Candidate("e")], 0.0) == plain


def test_a_twin_of_another_correction_before_none() -> None:
    pool = [*corrections(2, twins=False), Candidate("done", uses=4, quota=4, has_twin=True)]
    rows = compose(pool, GENERAL, 4, random.Random(0))
    assert rows[2].kind == "twin"
    assert rows[2].example_id == "done"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=0, max_size=9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_always_exactly_a_quarter(pool: list[tuple[int, bool]], share: int, general: int, seed: int) -> None:
    candidates = [Candidate(f"c{n}", uses=u, quota=4, has_twin=t) for n, (u, t) in enumerate(pool)]
    rows = compose(candidates, GENERAL[:general], 4 * share, random.Random(seed))
    if not any(c.waits for c in candidates):
        assert rows == ()
        return
    assert len(rows) == 4 * share
    assert replay_share(rows) == 0.25
    assert {r.example_id for r in rows if r.kind == "twin"} <= {c.id for c in candidates if c.has_twin}
    assert next(c for c in candidates if c.id == rows[0].example_id).waits


def test_the_same_seed_chooses_the_same_whatever_the_order() -> None:
    pool = corrections(7)
    one = compose(pool, GENERAL, 8, random.Random(3))
    assert one == compose(pool[::-1], GENERAL[::-1], 8, random.Random(3))
    assert one != compose(pool, GENERAL, 8, random.Random(4))


def test_each_gets_its_uses_in_turn() -> None:
    pool = {c.id: c for c in corrections(5, quota=4)}
    general = {c.id: c for c in GENERAL}
    rng, steps = random.Random(1), 0
    while rows := compose(list(pool.values()), list(general.values()), 4, rng):
        steps += 1
        for row in rows:
            if row.kind == "correction":
                pool[row.example_id] = replace(pool[row.example_id], uses=pool[row.example_id].uses + 1)
            elif row.kind == "twin":
                pool[row.example_id] = replace(
                    pool[row.example_id], twin_uses=pool[row.example_id].twin_uses + 1
                )
            else:
                general[row.example_id] = replace(
                    general[row.example_id], uses=general[row.example_id].uses + 1
                )
    assert steps == planned_steps(5 * 4, 2) == 10
    assert {c.uses for c in pool.values()} == {4}
    assert max(c.twin_uses for c in pool.values()) - min(c.twin_uses for c in pool.values()) <= 2
    assert Counter(c.uses for c in general.values()) == {2: 5}


def test_no_batch_without_general() -> None:
    with pytest.raises(GuardRefused, match="general"):
        compose(corrections(2), [], 4, random.Random(0))


@pytest.mark.parametrize("size", [0, -4, 3, 6])
def test_a_size_without_a_quarter_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        compose(corrections(2), GENERAL, size, random.Random(0))


@pytest.mark.parametrize(
    ("waiting", "quiet_s", "starts"),
    [(0, 1e9, False), (1, 0.0, False), (1, 10.0, True), (7, 9.9, False), (8, 0.0, True)],
)
def test_round_starts(waiting: int, quiet_s: float, starts: bool) -> None:
    assert round_starts(waiting, quiet_s, TrainingConfig()) is starts
    assert round_starts(waiting, quiet_s, TrainingConfig(enabled=False)) is False


def test_learning_rate_warms_up_and_decays() -> None:
    training = TrainingConfig(learning_rate=2e-4, warmup_steps=3)
    rates = [
        learning_rate(training, step, remaining_uses=40 - 2 * step, planned_uses=40) for step in range(20)
    ]
    assert rates[0] == pytest.approx(2e-4 / 3)
    assert rates[1] == pytest.approx(2e-4 * 2 / 3 * 38 / 40)
    assert max(rates) == rates[2] == pytest.approx(2e-4 * 36 / 40)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(2e-4 * 2 / 40)


def test_learning_rate_stays_between_zero_and_its_peak() -> None:
    training = TrainingConfig(learning_rate=1.0, warmup_steps=0, full_rate_uses=3)
    assert learning_rate(training, 0, remaining_uses=9, planned_uses=3) == 1.0
    assert learning_rate(training, 5, remaining_uses=0, planned_uses=3) == 0.0
    assert learning_rate(training, 5, remaining_uses=0, planned_uses=0) == 0.0


def test_a_short_round_learns_at_a_part_of_the_rate() -> None:
    training = TrainingConfig(learning_rate=1.0, warmup_steps=0, full_rate_uses=16)
    assert learning_rate(training, 0, remaining_uses=4, planned_uses=4) == 0.25
    assert learning_rate(training, 0, remaining_uses=16, planned_uses=16) == 1.0
