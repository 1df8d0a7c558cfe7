"""Training steps: written as an intent first, then confirmed, dropped, or undone later."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

from policies.replay import RowKind
from store.clock import now_ms
from store.database import Store

Undone = Literal["redo", "rolled_back"]


def begin(
    connection: sqlite3.Connection,
    version_id: str,
    learning_rate: float,
    rows: Sequence[tuple[RowKind, str]],
) -> int:
    """Write the intent of one step: which example fills which slot of its batch. Returns its id."""
    share = sum(kind == "general" for kind, _ in rows) / len(rows)
    cursor = connection.execute(
        "INSERT INTO steps (version_id, state, learning_rate, replay_share, intent)"
        " VALUES (?, 'intent', ?, ?, ?)",
        (version_id, learning_rate, share, now_ms()),
    )
    step_id = cursor.lastrowid
    assert step_id is not None
    connection.executemany(
        "INSERT INTO step_rows (step_id, slot, kind, example_id) VALUES (?, ?, ?, ?)",
        [(step_id, slot, kind, example_id) for slot, (kind, example_id) in enumerate(rows)],
    )
    return step_id


def confirm(
    connection: sqlite3.Connection,
    step_id: int,
    *,
    loss: float,
    row_losses: Sequence[float],
    seconds: float,
    changed_bytes: int,
    detail: dict[str, Any],
) -> None:
    """Record that the step is in the live weights."""
    _finish(connection, step_id, "confirmed", detail, loss=loss, seconds=seconds, changed_bytes=changed_bytes)
    connection.executemany(
        "UPDATE step_rows SET loss = ? WHERE step_id = ? AND slot = ?",
        [(row_loss, step_id, slot) for slot, row_loss in enumerate(row_losses)],
    )


def drop(connection: sqlite3.Connection, step_id: int, reason: str, seconds: float) -> None:
    """Record that the step was given up before it touched anything."""
    _finish(connection, step_id, "dropped", {"reason": reason}, seconds=seconds, changed_bytes=0)


def undo_after(connection: sqlite3.Connection, step_id: int, state: Undone) -> list[str]:
    """Mark confirmed and unfinished steps after `step_id` as undone. Returns their correction examples."""
    rows = connection.execute(
        "SELECT DISTINCT r.example_id FROM step_rows r JOIN steps s ON s.id = r.step_id"
        " WHERE s.id > ? AND s.state IN ('confirmed', 'intent') AND r.kind = 'correction'",
        (step_id,),
    ).fetchall()
    connection.execute(
        "UPDATE steps SET state = ?, finished = ifnull(finished, ?)"
        " WHERE id > ? AND state IN ('confirmed', 'intent')",
        (state, now_ms(), step_id),
    )
    return [row["example_id"] for row in rows]


def take_over(connection: sqlite3.Connection, ranges: Sequence[tuple[int, int]]) -> list[str]:
    """Make the confirmed steps those of a version, given as first and last of each train version on its path.

    Steps outside are rolled back, steps inside that were rolled back count again. Returns the correction
    examples of the former.
    """
    inside = " OR ".join("steps.id BETWEEN ? AND ?" for _ in ranges) or "0"
    bounds = tuple(bound for pair in ranges for bound in pair)
    rows = connection.execute(
        "SELECT DISTINCT r.example_id FROM step_rows r JOIN steps ON steps.id = r.step_id"
        f" WHERE r.kind = 'correction' AND steps.state IN ('confirmed', 'intent') AND NOT ({inside})",
        bounds,
    ).fetchall()
    connection.execute(
        "UPDATE steps SET state = 'rolled_back', finished = ifnull(finished, ?)"
        f" WHERE state IN ('confirmed', 'intent') AND NOT ({inside})",
        (now_ms(), *bounds),
    )
    connection.execute(
        "UPDATE steps SET state = 'confirmed'"
        f" WHERE state = 'rolled_back' AND loss IS NOT NULL AND ({inside})",
        bounds,
    )
    return [row["example_id"] for row in rows]


def unfinished(store: Store) -> list[int]:
    """Return the steps whose intent was never resolved: a crash came in between."""
    return [row["id"] for row in store.rows("SELECT id FROM steps WHERE state = 'intent' ORDER BY id")]


def last_confirmed(store: Store) -> int:
    """Return the newest step that is in the live weights, 0 before the first."""
    row = store.row("SELECT max(id) AS id FROM steps WHERE state = 'confirmed'")
    return 0 if row is None or row["id"] is None else int(row["id"])


def last(store: Store) -> int:
    """Return the newest step of any state, 0 before the first."""
    row = store.row("SELECT max(id) AS id FROM steps")
    return 0 if row is None or row["id"] is None else int(row["id"])


def decided(store: Store) -> int:
    """Return how many steps came to an end; those that a kill undid are not counted, they are taken again."""
    row = store.row("SELECT count(*) AS n FROM steps WHERE state NOT IN ('intent', 'redo')")
    return 0 if row is None else int(row["n"])


def taken_after(store: Store, step_id: int) -> tuple[int, int]:
    """Return how many steps after one were confirmed or dropped, and the corrections in confirmed ones."""
    row = store.row(
        "SELECT count(DISTINCT s.id) AS n,"
        " sum(s.state = 'confirmed' AND r.kind = 'correction') AS used"
        " FROM steps s JOIN step_rows r ON r.step_id = s.id"
        " WHERE s.id > ? AND s.state IN ('confirmed', 'dropped')",
        (step_id,),
    )
    return (0, 0) if row is None else (int(row["n"]), int(row["used"] or 0))


def first_after(store: Store, step_id: int) -> int | None:
    """Return the first confirmed step after `step_id`."""
    row = store.row("SELECT min(id) AS id FROM steps WHERE state = 'confirmed' AND id > ?", (step_id,))
    return None if row is None else row["id"]


def confirmed_after(store: Store, step_id: int) -> int:
    """Return how many confirmed steps came after `step_id`."""
    row = store.row("SELECT count(*) AS n FROM steps WHERE state = 'confirmed' AND id > ?", (step_id,))
    return 0 if row is None else int(row["n"])


def drops_of(connection: sqlite3.Connection, example_id: str) -> int:
    """Return in how many dropped steps an example was a correction."""
    row = connection.execute(
        "SELECT count(DISTINCT s.id) AS n FROM steps s JOIN step_rows r ON r.step_id = s.id"
        " WHERE s.state = 'dropped' AND r.kind = 'correction' AND r.example_id = ?",
        (example_id,),
    ).fetchone()
    return int(row["n"])


def trained(store: Store, example_ids: Sequence[str]) -> set[str]:
    """Return those of some examples that a confirmed step had as a correction."""
    marks = ",".join("?" * len(example_ids))
    rows = store.rows(
        "SELECT DISTINCT r.example_id FROM step_rows r JOIN steps s ON s.id = r.step_id"
        f" WHERE s.state = 'confirmed' AND r.kind = 'correction' AND r.example_id IN ({marks})",
        tuple(example_ids),
    )
    return {row["example_id"] for row in rows}


def first_losses(store: Store, most: int) -> list[float]:
    """Return the loss of each correction at its first confirmed use, of the `most` newest of them."""
    rows = store.rows(
        "SELECT r.loss, min(r.step_id) AS first FROM step_rows r JOIN steps s ON s.id = r.step_id"
        " WHERE s.state = 'confirmed' AND r.kind = 'correction' AND r.loss IS NOT NULL"
        " GROUP BY r.example_id ORDER BY first DESC LIMIT ?",
        (most,),
    )
    return [row["loss"] for row in rows]


def gradient_norms(store: Store, most: int) -> list[float]:
    """Return the gradient norms of the `most` newest confirmed steps."""
    rows = store.rows(
        "SELECT json_extract(detail, '$.gradient_norm') AS norm FROM steps WHERE state = 'confirmed'"
        " AND norm IS NOT NULL ORDER BY id DESC LIMIT ?",
        (most,),
    )
    return [row["norm"] for row in rows]


def _finish(
    connection: sqlite3.Connection,
    step_id: int,
    state: str,
    detail: dict[str, Any],
    *,
    loss: float | None = None,
    seconds: float,
    changed_bytes: int,
) -> None:
    connection.execute(
        "UPDATE steps SET state = ?, loss = ?, seconds = ?, changed_bytes = ?, detail = ?, finished = ?"
        " WHERE id = ? AND state = 'intent'",
        (state, loss, seconds, changed_bytes, json.dumps(detail), now_ms(), step_id),
    )
