from __future__ import annotations

import json
from typing import Any

from logs import lines, read, read_in_pieces, reasons, said

HEAD = {"sessionId": "s", "projectHash": "h", "startTime": "2025-10-27T19:56:01.701Z"}


def message(kind: str, content: Any, key: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "timestamp": "2025-10-27T19:56:02Z", "type": kind, "content": content, **more}


def called(call_id: str, response: Any, status: str = "success") -> dict[str, Any]:
    part = {"functionResponse": {"id": call_id, "name": "ls", "response": response}}
    return {"id": call_id, "name": "ls", "args": {"path": "."}, "status": status, "result": [part]}


def document(*messages: Any, **more: Any) -> bytes:
    return json.dumps({**HEAD, "messages": list(messages), **more}, indent=1).encode()


def test_messages_with_their_calls_and_results() -> None:
    calls = [called("c1", {"output": "a"}), called("c2", {"error": "cancelled by user"}, "cancelled")]
    form, parsed = read(
        document(
            message("user", [{"text": "Look at "}, {"text": "this"}, {"inlineData": {"data": "AA"}}], "1"),
            message("gemini", "", "2", toolCalls=calls, model="g", thoughts=[{"subject": "x"}]),
            message("gemini", "Two.", "3"),
            message("gemini", "", "4"),
        ),
        "session.json",
    )
    assert form == "gemini"
    assert said(parsed) == [
        ("user", "Look at \nthis\n[file]"),
        ("assistant", ""),
        ("tool", "a"),
        ("tool", "cancelled by user"),
        ("assistant", "Two."),
    ]
    assert [turn.tool_call_id for turn in parsed.turns] == [None, None, "c1", "c2", None]
    assert [turn.interrupted for turn in parsed.turns] == [False, False, False, True, False]
    assert parsed.turns[1].model == "g"


def test_the_harness_speaking_is_no_turn_and_a_cancelled_request_is_an_interrupt() -> None:
    _, parsed = read(
        document(
            message("user", "Go.", "1"),
            message("info", "Request cancelled.", "2"),
            message("error", "[API Error: quota]", "3"),
            message("warning", "x", "4"),
            message("user", "Stop that.", "5"),
            message("oracle", "x", "6"),
            7,
        )
    )
    assert said(parsed) == [("user", "Go."), ("user", "Stop that.")]
    assert [turn.interrupted for turn in parsed.turns] == [False, True]
    assert (parsed.interrupts, parsed.metadata) == (1, 3)
    assert reasons(parsed) == [
        "log.jsonl, messages[5]: not understood: record type 'oracle'",
        "log.jsonl, messages[6]: a JSON object is needed",
    ]


def test_a_session_that_has_grown_has_the_ids_it_had() -> None:
    first = [message("user", "Go.", "1"), message("gemini", "Gone.", "2")]
    short = read(document(*first))[1].turns
    longer = read(document(*first, message("user", "On.", "3"), lastUpdated="later"))[1].turns
    assert [turn.event_id for turn in longer[:2]] == [turn.event_id for turn in short]


def test_in_jsonl_the_last_writing_of_a_message_counts() -> None:
    data = lines(
        {**HEAD, "kind": "main"},
        message("user", "Go.", "1"),
        message("gemini", "Look", "2"),
        {"$set": {"lastUpdated": "x"}},
        message("gemini", "Looking.", "2", toolCalls=[called("c1", {"output": "a"})]),
        message("user", "Undo.", "3"),
        {"$rewindTo": "1"},
        message("user", "Again.", "4"),
        message("gemini", "Yes.", "5"),
    )
    form, parsed = read(data)
    assert form == "gemini"
    assert said(parsed) == [
        ("user", "Go."),
        ("assistant", "Looking."),
        ("tool", "a"),
        ("user", "Undo."),
        ("user", "Again."),
        ("assistant", "Yes."),
    ]
    assert parsed.turns[4].interrupted
    assert read_in_pieces(data).turns == parsed.turns
