"""What `run.py ingest` says: the counts on stdout, and on stderr what a person should know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.verbs.logs import show_ingest
from policies.config import Config

GOOD = {"conversation_id": "c", "role": "assistant", "content": "Hi"}


def ingest(capsys: pytest.CaptureFixture[str], *files: Path, as_json: bool = True) -> tuple[str, str]:
    show_ingest(Config(), list(files), dry_run=True, json=as_json)
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_file_without_a_decision_point_is_an_alert_beside_others_that_have_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, asked, text, empty = (
        tmp_path / name for name in ("good.jsonl", "asked.jsonl", "a.txt", "empty.jsonl")
    )
    good.write_text(json.dumps(GOOD) + "\n")
    asked.write_text(json.dumps({**GOOD, "role": "user"}) + "\n")
    text.write_text("no log at all\n")
    empty.write_text("")
    out, err = ingest(capsys, good, asked, text, empty)
    assert json.loads(out.splitlines()[-1])["decision_points"] == 1
    alerts = [line for line in err.splitlines() if line.startswith("ALERT")]
    assert len(alerts) == 2
    assert "asked.jsonl: not one decision point" in alerts[0]
    assert "a.txt: not one decision point" in alerts[1]


def test_of_many_bad_records_the_first_are_named_and_the_rest_are_counted_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    bad = [{"type": "beam"}] * 30 + [{"type": "ray"}] * 5
    log.write_text("".join(json.dumps(record) + "\n" for record in [GOOD, *bad]))
    out, err = ingest(capsys, log)
    assert json.loads(out)["not_understood"] == {"record type 'beam'": 30, "record type 'ray'": 5}
    assert f"{log}: log.jsonl, line 2: not understood: record type 'beam'" in err
    assert "and 10 more: not understood: record type 'beam'" in err
    assert "and 5 more: not understood: record type 'ray'" in err
    assert len(err.splitlines()) == 22


def test_what_is_odd_is_said_once_with_its_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, other = tmp_path / "log.jsonl", tmp_path / "other.jsonl"
    message = {"role": "assistant", "content": "Hi"}
    base = {"type": "assistant", "sessionId": "s", "message": message}
    hours = (12, 11, 10)
    records = [{**base, "uuid": str(h), "timestamp": f"2026-01-01T{h}:00:00Z"} for h in hours]
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    other.write_text(json.dumps({**records[0], "uuid": "x"}) + "\n")
    out, err = ingest(capsys, log, other, as_json=False)
    assert err.splitlines() == [
        f"{log}: 2 x the clock goes back (first at log.jsonl, line 2); kept",
        "other.jsonl, session s (also in log.jsonl): a session that another file has too; "
        "kept as one conversation",
    ]
    assert "decision_points" in out
