"""Which rehearsals of a correction were tried."""

from __future__ import annotations

from rows import correction

from store import examples, rehearsals
from store.database import Store


def test_each_correction_that_waits_knows_its_own_attempts(store: Store) -> None:
    with store.write() as connection:
        for name in ("a", "b", "c"):
            examples.insert(connection, correction(name, None), 2)
    made = [
        correction(f"{parent}~{number}", None).model_copy(update={"parent": parent})
        for parent, number in (("a", 0), ("a", 1), ("b", 0))
    ]
    assert rehearsals.add(store, made, 2) == made
    assert [(one.correction.id, sorted(one.tried)) for one in rehearsals.waiting(store)] == [
        ("a", ["a~0", "a~1"]),
        ("b", ["b~0"]),
        ("c", []),
    ]
