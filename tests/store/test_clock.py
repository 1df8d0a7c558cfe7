from __future__ import annotations

from datetime import datetime

from store.clock import new_id, now_ms, rfc3339


def test_rfc3339_is_utc_with_milliseconds() -> None:
    assert rfc3339(1_769_860_800_007) == "2026-01-31T12:00:00.007Z"
    assert round(datetime.fromisoformat(rfc3339(now_ms())).timestamp()) - now_ms() // 1000 in (0, 1)


def test_ids_sort_by_time_and_differ() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {len(one) for one in ids} == {26}
    assert [one[:10] for one in ids] == sorted(one[:10] for one in ids)
