from __future__ import annotations

import pytest

from store import offsets
from store.database import Store
from store.offsets import Offset


def test_place_is_kept_only_with_the_transaction(store: Store) -> None:
    with store.write() as connection:
        offsets.put(connection, Offset("/x", 7, 100))
        offsets.put(connection, Offset("/x", 7, 200))

    def die() -> None:
        with store.write() as connection:
            offsets.put(connection, Offset("/x", 8, 0))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        die()
    assert offsets.get(store.connection, "/x") == Offset("/x", 7, 200)
    assert offsets.get(store.connection, "/y") is None
