"""A fault of learning: an example whose loss is infinite."""

from __future__ import annotations

import sqlite3
import time

from benchmarks.faults.stage import Fault, Proof, Stage
from store.database import FILE_NAME

_PATIENCE_S = 40.0
_DROPPED = (
    "SELECT count(DISTINCT s.id) FROM steps s JOIN step_rows r ON r.step_id = s.id"
    " WHERE s.state = 'dropped' AND r.example_id = ?"
)


def not_a_number(stage: Stage) -> Proof:
    """Give a waiting example an infinite weight: its gradient is no number."""
    database = sqlite3.connect(stage.system.home / FILE_NAME, isolation_level=None, timeout=15)
    said = stage.load.say(correct=True)
    example = None
    deadline = time.monotonic() + _PATIENCE_S
    while example is None and time.monotonic() < deadline:
        example = database.execute(
            "UPDATE examples SET weight = 9e999 WHERE decision_id = ? AND state = 'ready'"
            " AND origin = 'correction' RETURNING id",  # a repair of the same answer gives way to it
            (f"{said.turns[-1]}#0",),
        ).fetchone()
        time.sleep(0.005)
    assert example is not None, "the correction did not arrive"
    state = ("ready",)
    while state[0] == "ready" and time.monotonic() < deadline:
        state = database.execute("SELECT state FROM examples WHERE id = ?", example).fetchone()
        time.sleep(0.1)
    (dropped,) = database.execute(_DROPPED, example).fetchone()
    database.close()
    return {"example": example[0], "state": state[0], "steps_dropped": dropped}


def was_dropped(proof: Proof) -> bool:
    """Say whether a step met the example, was dropped, and the example put out of the way."""
    return proof["steps_dropped"] > 0 and proof["state"] == "quarantined"


FAULTS = (Fault("not_a_number", "learner", not_a_number, was_dropped),)
