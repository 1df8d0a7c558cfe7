"""Chat Completions on real bodies elsewhere; Responses here on samples built from their specification."""

from __future__ import annotations

import json
from typing import Any

import yaml
from logs import lines, read, read_in_pieces, reasons, said

from agent.formats.openai_http import OTHER_CHOICES

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Weather?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Paris"}'}}
ANSWER = {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "rain"}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **more}


def completion(message: dict[str, Any], key: str = "r1", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    base = {"id": key, "object": "chat.completion", "created": 1_731_368_639, "model": "m-1"}
    return {**base, "choices": [choice], **more}


def stream(*chunks: Any, end: str = "data: [DONE]\n\n") -> str:
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "r", "created": 1_731_368_639, "model": "m-1", "choices": [choice]}


def test_requests_that_repeat_their_history_are_one_conversation() -> None:
    again = {**ANSWER, "content": "", "tool_calls": [{**CALL, "function": {**CALL["function"]}}]}
    again["tool_calls"][0]["function"]["arguments"] = '{ "at":"Paris" }'
    data = lines(
        {"request": chat(SYSTEM, USER), "response": completion(ANSWER, "r1")},
        {"request": chat(SYSTEM, {**USER, "content": "Other talk"}), "response": completion(USER, "r2")},
        {
            "request": chat(SYSTEM, USER, again, RESULT),
            "response": completion({"role": "assistant", "content": "Rain."}, "r3"),
        },
    )
    form, parsed = read(data)
    assert form == "openai-http"
    first = parsed.turns[0].conversation_id
    assert [(t.role, t.content) for t in parsed.turns if t.conversation_id == first] == [
        ("system", "Be brief."),
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", "rain"),
        ("assistant", "Rain."),
    ]
    assert len(parsed.turns) == 8
    assert parsed.turns[2].model == "m-1"
    assert parsed.turns[2].ts == 1_731_368_639_000
    assert read_in_pieces(data).turns == parsed.turns


def test_the_same_question_asked_twice_is_two_conversations_unless_they_are_named() -> None:
    record = {"request": chat(USER), "response": completion({"role": "assistant", "content": "Sun."})}
    other = {"request": chat(USER), "response": completion({"role": "assistant", "content": "Fog."}, "r2")}
    assert len({t.conversation_id for t in read(lines(record, other))[1].turns}) == 2
    named = [
        {**one, "request": {**one["request"], "metadata": {"session_id": "s"}}} for one in (record, other)
    ]
    assert {t.conversation_id for t in read(lines(*named))[1].turns} == {"s"}


def test_a_stream_is_put_together_and_one_that_is_cut_was_broken_off() -> None:
    pieces = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "So "}),
        chunk({"content": "it"}),
        chunk({"content": "other choice"}, index=1),
        chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "see", "arguments": "{}"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
        chunk({}, "tool_calls"),
    ]
    whole = read(lines({"request": chat(USER), "response": stream(*pieces)}))[1]
    assert said(whole) == [("user", "Weather?"), ("assistant", "So it")]
    assert [(c.id, c.name, c.arguments) for c in whole.turns[1].tool_calls] == [
        ("c1", "look", '{"a": 1}'), ("c2", "see", "{}"),
    ]  # fmt: skip
    assert [remark.kind for remark in whole.remarks] == [OTHER_CHOICES]
    cut = read(lines({"request": chat(USER), "response": stream(*pieces[:3], end='data: {"cho')}))[1]
    assert (cut.turns[1].content, cut.turns[1].interrupted, cut.interrupts) == ("So it", True, 1)
    assert not whole.turns[1].interrupted


def test_a_bare_stream_and_a_bare_answer_are_answers_without_their_context() -> None:
    form, parsed = read(stream(chunk({"content": "Hi"}), chunk({}, "stop")).encode(), "capture.sse")
    assert (form, said(parsed)) == ("openai-http", [("assistant", "Hi")])
    form, parsed = read(json.dumps(completion({"role": "assistant", "content": "Hi"})).encode(), "a.json")
    assert (form, said(parsed)) == ("openai-http", [("assistant", "Hi")])


def test_cassettes_and_har_files() -> None:
    pair = {
        "request": {"body": json.dumps(chat(USER)), "headers": {"authorization": ["x"]}, "uri": "https://x"},
        "response": {"body": {"string": json.dumps(completion({"role": "assistant", "content": "Sun."}))}},
    }
    cassette = yaml.safe_dump({"interactions": [pair], "version": 1}).encode()
    entry = {
        "startedDateTime": "2026-01-01T00:00:00Z",
        "request": {"method": "POST", "postData": {"text": json.dumps(chat(USER))}},
        "response": {"content": {"text": stream(chunk({"content": "Sun."}), chunk({}, "stop"))}},
    }
    har = json.dumps({"log": {"version": "1.2", "entries": [entry]}}).encode()
    for data, name in ((cassette, "c.yaml"), (har, "x.har")):
        form, parsed = read(data, name)
        assert (form, said(parsed)) == ("openai-http", [("user", "Weather?"), ("assistant", "Sun.")])


def test_a_cassette_with_aliases_is_refused() -> None:
    _, parsed = read(b"interactions: &a [x]\nmore: *a\n", "c.yaml")
    assert "aliases are not read" in reasons(parsed)[0]


def test_errors_and_unanswered_requests() -> None:
    _, parsed = read(
        lines(
            {"request": chat(USER), "response": {"error": {"message": "quota"}}},
            {"request": {"url": "/v1/models"}, "response": {"data": []}, "messages": []},
        )
    )
    assert said(parsed) == [("user", "Weather?")]


def test_what_a_harness_put_into_a_request_is_no_user_turn() -> None:
    reminder = "<system-reminder>Contents of /p/AGENTS.md (project):\n\nNever push.\n</system-reminder>"
    wrapped = {"role": "user", "content": [{"type": "text", "text": reminder}]}
    record = {"request": chat(SYSTEM, wrapped, USER), "response": completion(RESULT)}
    _, parsed = read(lines(record))
    assert [role for role, _ in said(parsed)] == ["system", "system", "user", "assistant"]
    assert said(parsed)[1] == ("system", "Never push.")
    assert parsed.noise == 1


ASKED = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}, {"type": "input_image"}]}
    ],
}
CALLED = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "look", "arguments": "{}"}
SPOKEN = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
}


def response(*output: Any, key: str = "resp_1", **more: Any) -> dict[str, Any]:
    base = {
        "id": key,
        "object": "response",
        "created_at": 1_741_476_542,
        "status": "completed",
        "model": "m-1",
    }
    return {**base, "output": list(output), **more}


def test_responses_with_calls_and_a_previous_response() -> None:
    data = lines(
        {"request": ASKED, "response": response({"type": "reasoning", "summary": []}, SPOKEN, CALLED)},
        {
            "request": {
                "model": "m",
                "previous_response_id": "resp_1",
                "input": [{"type": "function_call_output", "call_id": "c1", "output": "rain"}],
            },
            "response": response(
                {**SPOKEN, "content": [{"type": "output_text", "text": "Rain."}]}, key="resp_2"
            ),
        },
    )
    form, parsed = read(data)
    assert form == "openai-http"
    assert said(parsed) == [
        ("system", "Be brief."),
        ("user", "Weather?\n[image]"),
        ("assistant", "I look."),
        ("tool", "rain"),
        ("assistant", "Rain."),
    ]
    assert parsed.turns[2].tool_calls[0].id == parsed.turns[3].tool_call_id == "c1"
    assert len({turn.conversation_id for turn in parsed.turns}) == 1
    assert read_in_pieces(data).turns == parsed.turns


def test_responses_that_repeat_their_input_items() -> None:
    items = [
        *ASKED["input"],
        SPOKEN,
        CALLED,
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    _, parsed = read(
        lines(
            {"request": ASKED, "response": response(SPOKEN, CALLED)},
            {"request": {**ASKED, "input": items}, "response": response(SPOKEN, key="resp_2")},
        )
    )
    assert [role for role, _ in said(parsed)] == ["system", "user", "assistant", "tool", "assistant"]


def event(kind: str, **more: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"


def test_a_streamed_response() -> None:
    begun = event("response.created", response=response(status="in_progress"))
    deltas = event("response.output_text.delta", delta="I lo") + event(
        "response.output_text.delta", delta="ok."
    )
    done = event("response.output_item.done", item=SPOKEN) + event("response.output_item.done", item=CALLED)
    end = event("response.completed", response=response(SPOKEN, CALLED))
    for text, content, calls, cut in (
        (begun + deltas + done + end, "I look.", 1, False),
        (begun + deltas + done, "I look.", 1, True),
        (begun + deltas[:-40], "I lo", 0, True),
    ):
        _, parsed = read(lines({"request": {"model": "m", "input": "Weather?"}, "response": text}))
        answer = parsed.turns[1]
        assert (answer.content, len(answer.tool_calls), answer.interrupted) == (content, calls, cut)
        assert parsed.interrupts == int(cut)
