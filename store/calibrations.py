"""How far each labeller is to be believed, as measured here: the last row of a labeller counts."""

from __future__ import annotations

import sqlite3

from policies.labelling import Calibration
from store.clock import now_ms


def put(connection: sqlite3.Connection, calibration: Calibration) -> None:
    """Keep a calibration; it is in force from now on."""
    connection.execute(
        "INSERT INTO calibrations (labeller, slope, intercept, weight, rows, data, fitted, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            calibration.labeller,
            calibration.slope,
            calibration.intercept,
            calibration.weight,
            calibration.rows,
            calibration.data,
            calibration.fitted,
            now_ms(),
        ),
    )


def in_force(connection: sqlite3.Connection) -> dict[str, Calibration]:
    """Return the calibration in force of each labeller that has one."""
    rows = connection.execute(
        "SELECT * FROM calibrations WHERE id IN (SELECT max(id) FROM calibrations GROUP BY labeller)"
    )
    return {row["labeller"]: Calibration(**{n: row[n] for n in Calibration.model_fields}) for row in rows}
