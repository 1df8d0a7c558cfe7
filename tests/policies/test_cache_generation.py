"""Which cached prefixes requests share after writes."""

from __future__ import annotations

import pytest

from policies.prefix_cache import cache_generation


def test_with_the_salt_nothing_older_than_the_weights_in_force_is_shared() -> None:
    assert [cache_generation("salt", epoch, 0, 4) for epoch in range(4)] == [0, 1, 2, 3]


def test_off_shares_all() -> None:
    assert {cache_generation("off", epoch, epoch, 4) for epoch in range(9)} == {0}


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
@pytest.mark.parametrize("floor", [0, 3, 10])
def test_bounded_shares_at_most_so_many_steps_and_nothing_from_below_the_floor(
    steps: int, floor: int
) -> None:
    epochs = range(floor, floor + 40)
    begun: dict[int, int] = {}
    for epoch in epochs:
        oldest = begun.setdefault(cache_generation("bounded", epoch, floor, steps), epoch)
        assert epoch - oldest <= steps
    assert len(begun) < len(epochs)
    before = {cache_generation("bounded", epoch, 0, steps) for epoch in range(floor)}
    assert not before & set(begun)


def test_a_write_that_is_just_being_marked_shares_nothing_from_before() -> None:
    older = {cache_generation("bounded", epoch, 8, 4) for epoch in range(8, 10)}
    assert cache_generation("bounded", 10, 11, 4) not in older
