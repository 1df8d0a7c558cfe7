from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.reading import IN_TWO_FILES, NO_CALL, read_file, shared_sessions, summarise
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
                {"role": "tool", "content": "frozen", "tool_call_id": "z"},
                {"role": "assistant", "content": "frozen water."},
                {"role": "user", "content": " "},
            ],
        },
        {"role": "user"},
        {"shape": "of things to come"},
    )
    reading = read_file(path, NOW)
    assert (reading.format, len(reading.rejected)) == ("openai-messages", 2)
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
        "rejected": 2,
        "metadata": 0,
        "not_understood": {"record type '{shape}'": 1},
        "remarks": {NO_CALL: 1},
    }


def test_prompts_of_sub_agents_and_records_logged_twice_are_not_counted_as_typed(tmp_path: Path) -> None:
    typed = {"type": "user", "uuid": "1", "sessionId": "s", "message": {"role": "user", "content": "Go."}}
    delegated = {**typed, "uuid": "2", "isSidechain": True, "agentId": "a"}
    path = write(tmp_path / "s.jsonl", typed, typed, delegated, delegated)
    summary = summarise([read_file(path, NOW), read_file(path, NOW)], None)
    assert (summary.turns, summary.user_turns) == (2, 1)


def test_two_sessions_with_one_id_are_kept_and_named(tmp_path: Path) -> None:
    def session(name: str, said: str) -> Path:
        answer = {"role": "assistant", "content": [{"type": "text", "text": said}]}
        record = {"type": "assistant", "uuid": "u", "sessionId": "same", "message": answer}
        return write(tmp_path / name, record)

    readings = [read_file(session(f"{n}.jsonl", f"answer {n}"), NOW) for n in range(3)]
    summary = summarise(readings, None)
    assert (summary.turns, summary.decision_points) == (3, 3)
    assert summary.remarks == {IN_TWO_FILES: 2}
    assert [remark.place for remark in shared_sessions(readings)] == [
        "1.jsonl, session same (also in 0.jsonl)",
        "2.jsonl, session same (also in 0.jsonl)",
    ]


@pytest.mark.parametrize("content", [b"\x00\x01\x02" * 99, b"plain text, no log", b'{"what": "is this"}'])
def test_a_file_of_no_known_kind_is_one_rejected_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.json"
    path.write_bytes(content)
    reading = read_file(path, NOW)
    assert (reading.format, reading.turns, reading.has_decisions) == (None, (), False)
    assert "not understood" in reading.rejected[0].reason


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    reading = read_file(write(tmp_path / "empty.json"), NOW)
    assert (reading.size, summarise([reading], None).decision_points) == (0, 0)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.jsonl: No such file"):
        read_file(tmp_path / "absent.jsonl", NOW)
