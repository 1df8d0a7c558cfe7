from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.language import detect_language
from agent.reading import read_file, summarise
from policies.errors import InputError

NOW = 1_800_000_000_000


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_file_is_read_segmented_labelled_and_counted(tmp_path: Path) -> None:
    call = {"id": "x", "function": {"name": "run", "arguments": "{}"}}
    path = write(
        tmp_path / "log.jsonl",
        {
            "conversation_id": "a",
            "messages": [
                {"role": "system", "content": "Answer in lowercase."},
                {"role": "user", "content": "What is rain?"},
                {"role": "assistant", "content": "Water."},
                {"role": "user", "content": "And snow?"},
                {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "y"}]},
                {"role": "tool", "content": "frozen", "tool_call_id": "x"},
                {"role": "tool", "content": "frozen", "tool_call_id": "y"},
                {"role": "assistant", "content": "frozen water."},
                {"role": "user", "content": " "},
            ],
        },
        {"role": "user"},
    )
    reading = read_file(path, NOW)
    assert (reading.format, len(reading.rejected)) == ("openai-lines", 1)
    assert reading.rejected[0].place == "log.jsonl, line 2"
    summary = summarise([reading], None)
    assert summary.model_dump() == {
        "files": 1,
        "turns": 9,
        "user_turns": 2,
        "noise": 1,
        "tool_calls": 2,
        "tool_results": 2,
        "interrupts": 0,
        "decision_points": 4,
        "labels": {"followed": 1, "ignored": 1, "unknown": 2},
        "rejected": 1,
    }


@pytest.mark.parametrize("content", [b"\x00\x01\x02" * 99, b"plain text, no log", b'{"what": "is this"}'])
def test_a_file_of_no_known_kind_is_one_rejected_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.json"
    path.write_bytes(content)
    reading = read_file(path, NOW)
    assert (reading.format, reading.turns) == (None, ())
    assert "not understood" in reading.rejected[0].reason


def test_jsonl_with_a_broken_beginning_still_gives_its_good_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = json.dumps({"conversation_id": "c", "role": "user", "content": "Hi"})
    path.write_text(f"half a line\n{good}\n", encoding="utf-8")
    reading = read_file(path, NOW)
    assert (len(reading.turns), len(reading.rejected)) == (1, 1)


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.json")
    assert summarise([read_file(path, NOW)], None).decision_points == 0


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.jsonl: No such file"):
        read_file(tmp_path / "absent.jsonl", NOW)


def test_tau_bench_counts() -> None:
    data = os.environ.get("HEEDLOOP_DATA")
    if not data:
        pytest.skip("HEEDLOOP_DATA is not set: the real agent logs are not there")
    folder = Path(data) / "C"
    name = "tau_bench/gpt-4o-airline.json"
    expected = json.loads((folder / "expected_counts.json").read_text(encoding="utf-8"))[name]
    summary = summarise([read_file(folder / name, NOW)], detect_language)
    assert summary.decision_points == expected["assistant"] == 1_381
    assert summary.user_turns == expected["typed"]
    assert summary.tool_calls == expected["tool_calls"]
    assert summary.tool_results == expected["tool_results"]
    assert (summary.rejected, summary.noise, summary.interrupts) == (0, 0, 0)
    assert summary.labels.unknown > 0.8 * summary.decision_points
