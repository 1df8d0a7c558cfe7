from __future__ import annotations

import json
from typing import Any

import pytest
from logs import NOW, lines, read, reasons

CALL = {"id": "x1", "type": "function", "function": {"name": "run", "arguments": '{"a": 1}'}}


def test_one_turn_a_line() -> None:
    user = {"conversation_id": "c", "role": "user", "content": "Hi"}
    form, parsed = read(
        lines(
            user | {"event_id": "e1", "ts": "2026-01-01T00:00:00Z"},
            {"conversation_id": "c", "role": "assistant", "content": None, "tool_calls": [CALL]},
            {**user, "role": "tool", "tool_call_id": "x1", "content": [{"type": "text", "text": "ok"}]},
        ),
    )  # fmt: skip
    turns = parsed.turns
    assert (form, parsed.rejected) == ("openai-messages", ())
    assert [(t.role, t.content) for t in turns] == [("user", "Hi"), ("assistant", ""), ("tool", "ok")]
    assert (turns[0].event_id, turns[0].ts, turns[1].ts) == ("e1", 1_767_225_600_000, NOW)
    assert (turns[1].tool_calls[0].name, turns[1].tool_calls[0].arguments) == ("run", '{"a": 1}')


@pytest.mark.parametrize("key", ["messages", "turns"])
def test_one_conversation_a_line(key: str) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]
    _, parsed = read(lines({"conversation_id": "c", key: talk}, {key: talk}, {key: talk}))
    assert parsed.rejected == ()
    assert [t.conversation_id for t in parsed.turns[:2]] == ["c", "c"]
    assert len({t.conversation_id for t in parsed.turns}) == 3
    assert len({t.event_id for t in parsed.turns}) == len(parsed.turns) == 6


def test_derived_ids_are_the_same_when_read_again_and_follow_a_growing_conversation() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]
    more = [*talk, {"role": "user", "content": "Hi"}]
    short = read(lines({"conversation_id": "c", "messages": talk}))[1].turns
    longer = read(lines({"conversation_id": "c", "messages": more}))[1].turns
    assert [t.event_id for t in longer[:2]] == [t.event_id for t in short]
    assert longer[2].event_id not in {t.event_id for t in short}
    grown = [read(json.dumps(document).encode(), "chat.json")[1].turns for document in (talk, more)]
    assert [t.event_id for t in grown[1][:2]] == [t.event_id for t in grown[0]]


def test_equal_lines_without_ids_or_times_are_two_turns() -> None:
    record = {"conversation_id": "c", "role": "user", "content": "go on"}
    turns = read(lines(record, record))[1].turns
    assert turns[0].event_id != turns[1].event_id


def test_a_broken_off_turn_may_say_so() -> None:
    record = {"conversation_id": "c", "role": "assistant", "content": "So th", "interrupted": True}
    assert read(lines(record))[1].turns[0].interrupted


def test_bad_records_are_named_and_the_rest_goes_through() -> None:
    good = {"conversation_id": "c", "event_id": "e", "role": "user", "content": "Hi"}
    data = lines(
        good,
        {**good, "role": "wizard"},
        {"role": "user", "content": "no conversation"},
        ["list"],
        {"hello": 1},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "user", "content": 5}, 7]},
        {"messages": "none"},
    )
    data += b'{"cut": \n\xff\xfe\n\n' + lines(good)
    _, parsed = read(data)
    bad = reasons(parsed)
    assert len(parsed.turns) == 3
    assert [line.split(": ")[0].removeprefix("log.jsonl, ") for line in bad] == [
        "line 2", "line 3", "line 4, record 0", "line 5", "line 6, turns[1]", "line 6, turns[2]", "line 7",
        "line 8", "line 9",
    ]  # fmt: skip
    for number, part in enumerate(("role", "event_id", "object", "{hello}", "content")):
        assert part in bad[number]
    assert "not JSON" in bad[7]
    assert "not UTF-8" in bad[8]


@pytest.mark.parametrize(
    ("document", "conversations"),
    [
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], 1),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, 1),
        ([{"messages": [{"role": "user", "content": "a"}]}] * 2, 2),
    ],
)
def test_one_document(document: Any, conversations: int) -> None:
    form, parsed = read(json.dumps(document, indent=1).encode(), "chat.json")
    assert form == "openai-messages"
    assert (len(parsed.turns), parsed.rejected) == (2, ())
    assert len({turn.conversation_id for turn in parsed.turns}) == conversations
