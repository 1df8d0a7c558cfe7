"""The verdicts in force: one row per (decision, direction), by the labeller that has the word."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from policies.label import Label
from store.clock import now_ms


def replace(connection: sqlite3.Connection, decision_id: str, labels: Sequence[Label]) -> list[Label]:
    """Make these the labels of a decision, one per direction. Returns those that are new or have changed.

    What an earlier judgement said of a direction goes, also where another labeller has the word now.
    """
    old = of(connection, decision_id)
    for label in old:
        if label not in labels:
            connection.execute(
                "DELETE FROM labels WHERE decision_id = ? AND direction_id IS ? AND labeller = ?",
                (decision_id, label.direction_id, label.labeller),
            )
    changed = [label for label in labels if label not in old]
    created = now_ms()
    connection.executemany(
        "INSERT INTO labels (decision_id, direction_id, verdict, confidence, labeller, evidence, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (x.decision_id, x.direction_id, x.verdict, x.confidence, x.labeller, x.evidence, created)
            for x in changed
        ],
    )
    return changed


def of(connection: sqlite3.Connection, decision_id: str) -> list[Label]:
    """Return every label of one decision, oldest first."""
    rows = connection.execute("SELECT * FROM labels WHERE decision_id = ? ORDER BY id", (decision_id,))
    return [Label(**{name: row[name] for name in Label.model_fields}) for row in rows]
