from __future__ import annotations

import pytest

from store import counters, dead_letters
from store.database import Store


@pytest.mark.parametrize("payload", [b"\xff\xfe" * 50_000, "ü" * 50_000, "\ud800" * 30_000])
def test_only_the_start_is_kept_with_the_true_size(store: Store, payload: bytes | str) -> None:
    raw = payload if isinstance(payload, bytes) else payload.encode("utf-8", "surrogatepass")
    with store.write() as connection:
        dead_letters.keep(connection, "mqtt", "not JSON", payload)
        dead_letters.keep(connection, "mqtt", "too long", "start", size=7_000_000)
    longer, cut = dead_letters.recent(store)
    assert (cut["bytes"], longer["bytes"]) == (len(raw), 7_000_000)
    assert 0 < len(cut["payload"]) <= dead_letters.MAX_KEPT
    assert (cut["reason"], cut["source"]) == ("not JSON", "mqtt")
    assert counters.read(store)["dead_letters"] == 2


def test_a_letter_that_comes_again_from_the_same_place_is_one(store: Store) -> None:
    with store.write() as connection:
        for source in ("log:a (line 3)", "log:a (line 3)", "log:a (line 4)"):
            dead_letters.keep(connection, source, "not JSON", b"{")
    rows = store.rows("SELECT source, repeats FROM dead_letters ORDER BY id")
    assert [tuple(row) for row in rows] == [("log:a (line 3)", 1), ("log:a (line 4)", 0)]
    assert counters.read(store) == {"dead_letters": 2, "dead_letters_repeated": 1}


def test_a_letter_that_is_recalled_was_still_one_that_came(store: Store) -> None:
    with store.write() as connection:
        for name in ("k1", "k2"):
            dead_letters.keep(connection, "mqtt", "its turn has not come", f'{{"event_id": "{name}"}}')
        dead_letters.recall(connection, "its turn has not come", "k1")
        dead_letters.recall(connection, "its turn has not come", "k1")
    assert [row["payload"] for row in dead_letters.recent(store)] == ['{"event_id": "k2"}']
    assert counters.read(store) == {"dead_letters": 2, "dead_letters_recalled": 1}
