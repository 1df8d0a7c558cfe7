from __future__ import annotations

from policies.labelling import Calibration
from store import calibrations
from store.database import Store


def test_the_last_calibration_of_each_labeller_is_in_force(store: Store) -> None:
    first = Calibration(labeller="reaction", slope=0.7, rows=30, fitted="2026-01-01", data="x")
    judge = Calibration(labeller="judge", weight=0.0)
    assert calibrations.in_force(store.connection) == {}
    with store.write() as connection:
        for one in (first, judge, first.model_copy(update={"slope": 0.9})):
            calibrations.put(connection, one)
    held = calibrations.in_force(store.connection)
    assert {name: one.slope for name, one in held.items()} == {"reaction": 0.9, "judge": 1.0}
    assert held["judge"] == judge
