"""The demo, whole: what a newcomer sees must be what the README says."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks.demo import reached, run_once

FIELDS = """direction corrections follow_rate_before follow_rate_after held_out_prompts leak_before leak_after
facts_before facts_after nll_before nll_after train_seconds total_seconds requests_sent requests_failed
replay_share poisoned_detected restored_bit_for_bit seed"""
MEASURED_ELSEWHERE = {"train_seconds", "total_seconds", "poisoned_seconds", "facts"}
"""By benchmarks/demo.py over several seeds: no test asserts a wall-clock time, and two points of the
facts are four items of 204, which one seed may miss."""


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_corrections_teach_and_poison_is_undone(tmp_path: Path) -> None:
    summary = run_once(0, tmp_path)
    print(summary)
    assert set(FIELDS.split()) <= set(summary)
    assert summary["corrections"] == 10
    assert summary["facts_before"] >= 0.5
    assert abs(summary["facts_after"] - summary["facts_before"]) <= 0.05
    missed = {name for name, ok in reached(summary).items() if not ok} - MEASURED_ELSEWHERE
    assert not missed, summary
    assert (tmp_path / "demo" / "picture.png").stat().st_size > 10_000
    assert (tmp_path / "demo" / "summary.json").is_file()
    database = tmp_path / "demo" / "state" / "heedloop.db"
    assert _trained_corrections(database) == 10
    assert _dead_letters(database) == 0


def _trained_corrections(database: Path) -> int:
    """Count what the confirmed steps of the good version were trained on."""
    connection = sqlite3.connect(database)
    (count,) = connection.execute(
        "SELECT count(DISTINCT e.id) FROM examples e JOIN step_rows r ON r.example_id = e.id"
        " JOIN steps s ON s.id = r.step_id WHERE s.state = 'confirmed' AND r.kind = 'correction'"
        " AND e.state = 'ready' AND e.parent IS NULL"
    ).fetchone()
    connection.close()
    return int(count)


def _dead_letters(database: Path) -> int:
    connection = sqlite3.connect(database)
    (count,) = connection.execute("SELECT count(*) FROM dead_letters").fetchone()
    connection.close()
    return int(count)
