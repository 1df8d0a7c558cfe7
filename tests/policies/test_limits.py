"""A token bucket, by hand."""

from __future__ import annotations

from policies.limits import Bucket


def test_a_minutes_worth_at_once_then_one_at_a_time() -> None:
    bucket = Bucket(per_minute=3)
    assert [bucket.take(1_000) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(20_999)
    assert bucket.take(21_001)
    assert not bucket.take(21_002)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(per_minute=1)
    assert bucket.take(100_000)
    assert not bucket.take(0)
    assert not bucket.take(30_000)
    assert bucket.take(60_001)


def test_no_more_than_a_minute_is_saved_up() -> None:
    bucket = Bucket(per_minute=2)
    bucket.take(0)
    assert [bucket.take(10**9) for _ in range(3)] == [True, True, False]
