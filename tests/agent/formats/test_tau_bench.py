from __future__ import annotations

import json

from logs import lines, read, reasons, said

CALL = {"id": "x1", "type": "function", "function": {"name": "run", "arguments": '{"a": 1}'}}


def test_runs() -> None:
    run = {
        "task_id": 0,
        "trial": 1,
        "traj": [
            {"role": "system", "content": "Rules."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "ok", "tool_call_id": "x1", "name": "run"},
            {"role": "sage", "content": "?"},
        ],
    }
    form, parsed = read(json.dumps([run, run | {"trial": 2}, {"task_id": 3}]).encode(), "log.json")
    assert form == "tau-bench"
    assert len(parsed.turns) == 8
    assert len({turn.conversation_id for turn in parsed.turns}) == 2
    assert [line.partition(": ")[0] for line in reasons(parsed)] == [
        "log.json, run 0, turns[4]",
        "log.json, run 1, turns[4]",
        "log.json, run 2",
    ]
    assert read(lines(run))[1].turns == parsed.turns[:4]


def test_simulations_of_the_second_version() -> None:
    messages = [
        {"role": "assistant", "content": "Hi!", "tool_calls": None, "timestamp": "2025-06-01T10:00:00"},
        {"role": "user", "content": "Book it.", "timestamp": "2025-06-01T10:00:01"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "name": "book", "arguments": {}}]},
        {"role": "tool", "tool_messages": [{"id": "c", "role": "tool", "content": "ok"}]},
        {"role": "tool", "id": "u", "content": "phone", "requestor": "user"},
    ]
    _, parsed = read(json.dumps({"info": {}, "simulations": [{"task_id": 1, "messages": messages}]}).encode())
    assert said(parsed) == [("assistant", "Hi!"), ("user", "Book it."), ("assistant", ""), ("tool", "ok")]
    assert parsed.turns[2].tool_calls[0].id == parsed.turns[3].tool_call_id == "c"


def test_few_shot_text_without_a_speaker_has_no_turns() -> None:
    _, parsed = read(lines({"messages_display": "nobody speaks"}, {"messages_display": "user: Hi"}))
    assert said(parsed) == [("user", "Hi")]


def test_few_shot_text() -> None:
    text = "user: Hi there\nassistant: Hello.\nWhat is it?\nuser: A refund\nassistant: None\ntool: refunded"
    form, parsed = read(lines({"messages_display": text}))
    assert form == "tau-bench"
    assert said(parsed) == [
        ("user", "Hi there"),
        ("assistant", "Hello.\nWhat is it?"),
        ("user", "A refund"),
        ("tool", "refunded"),
    ]
