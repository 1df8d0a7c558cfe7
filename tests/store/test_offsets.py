from __future__ import annotations

import pytest

from store import offsets
from store.database import Store
from store.offsets import Offset


def test_place_is_kept_only_with_the_transaction(store: Store) -> None:
    first = Offset(1, 7, "/x", 100, "f1", "codex", "{}", records=3, decisions=1)
    with store.write() as connection:
        offsets.put(connection, first)
        offsets.put(connection, first._replace(path="/y", offset=200, alerted=True))

    def die() -> None:
        with store.write() as connection:
            offsets.put(connection, first._replace(offset=0))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        die()
    assert offsets.known(store) == [first._replace(path="/y", offset=200, alerted=True)]
