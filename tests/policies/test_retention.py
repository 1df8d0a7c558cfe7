"""Which versions are kept."""

from __future__ import annotations

from itertools import pairwise

from policies.config import GuardConfig
from policies.retention import kept

HOUR = 3600 * 1000
DAY = 24 * HOUR


def rules(newest: int, daily: int, weekly: int) -> GuardConfig:
    return GuardConfig(keep_versions=newest, keep_daily=daily, keep_weekly=weekly)


def test_the_newest_are_kept_and_the_last_of_each_day_and_week() -> None:
    start = 4 * DAY  # 1970-01-05, a Monday; weeks of this count begin on Thursdays
    created = [(f"{day}.{hour}", start + day * DAY + hour * HOUR) for day in range(30) for hour in (1, 9, 20)]
    assert kept(created, rules(2, 0, 0)) == {"29.9", "29.20"}
    assert kept(created, rules(2, 3, 0)) == {"29.9", "29.20", "28.20", "27.20"}
    weekly = kept(created, rules(2, 0, 3)) - {"29.9"}
    days = sorted(int(name.split(".")[0]) for name in weekly)
    assert len(days) == 3
    assert {later - earlier for earlier, later in pairwise(days)} <= {7, 29 - days[1]}
    assert all(name.endswith(".20") for name in weekly)


def test_quiet_days_do_not_use_up_places() -> None:
    created = [("old", 0), ("older than a month", 60 * DAY), ("now", 200 * DAY)]
    assert kept(created, rules(2, 3, 0)) == {name for name, _ in created}


def test_fewer_than_the_rules_keep_are_all_kept() -> None:
    assert kept([], rules(5, 7, 4)) == set()
    assert kept([("a", 1)], rules(5, 0, 0)) == {"a"}
