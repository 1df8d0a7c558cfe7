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
