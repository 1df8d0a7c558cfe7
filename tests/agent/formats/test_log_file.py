from __future__ import annotations

import json

import pytest
from logs import lines, read, said
from samples import SAMPLES

from agent.formats import detect_format, detect_record

TURN = {"type": "user", "uuid": "u", "sessionId": "s", "message": {"role": "user", "content": "Hi"}}


@pytest.mark.parametrize("name", ["log.jsonl", "log.json", "log.txt", "log"])
def test_the_name_of_a_file_does_not_matter(name: str) -> None:
    other = {**TURN, "uuid": "v"}
    for data in (lines(TURN, other), json.dumps([TURN, other], indent=2).encode(), lines([TURN, other])):
        assert said(read(data, name)[1]) == [("user", "Hi")] * 2


def test_a_document_may_be_a_list_of_records() -> None:
    form, parsed = read(json.dumps(["broken", TURN, {**TURN, "uuid": "v"}]).encode(), "export.json")
    assert (form, said(parsed)) == ("claude-code", [("user", "Hi")] * 2)
    assert [bad.place for bad in parsed.rejected] == ["export.json, record 0"]


@pytest.mark.parametrize("name", ["one.jsonl", "one.json"])
def test_one_line_is_read_as_the_first_of_many(name: str) -> None:
    alone = read(lines(TURN), "one.jsonl")[1].turns
    assert read(lines(TURN), name)[1].turns == alone
    assert read(lines(TURN, {**TURN, "uuid": "v"}), name)[1].turns[:1] == alone


def test_a_pretty_document_with_a_mark_and_windows_line_ends() -> None:
    text = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}, indent=1).replace("\n", "\r\n")
    assert said(read(b"\xef\xbb\xbf" + text.encode(), "chat.json")[1]) == [("user", "Hi")]


def test_the_first_record_of_a_known_kind_decides() -> None:
    found = detect_format([b"broken", b'{"type": "beam"}', json.dumps(TURN).encode(), b'{"role": "user"}'])
    assert found is not None
    assert found.name == "claude-code"
    assert detect_format([b"broken", b"", b"7"]) is None


def test_no_format_takes_the_first_record_of_another() -> None:
    for name, records in SAMPLES.items():
        found = detect_record(records[0])
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    "record",
    [
        {"type": "message", "content": "x"},
        {"type": "session"},
        {"action": "opened", "source": "github"},
        {"": 1},
        {"type": "result", "value": 3},
        {"level": "info", "event": "started", "timestamp": "x"},
        {"input": "x", "output": "y"},
    ],
)
def test_logs_of_other_things_are_not_taken_for_agents(record: dict[str, object]) -> None:
    assert detect_record(record) is None
