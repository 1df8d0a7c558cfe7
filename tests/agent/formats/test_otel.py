"""On samples built from the OpenTelemetry semantic conventions for GenAI."""

from __future__ import annotations

import json
from typing import Any

from logs import lines, read, said


def text(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}], **more}


USER = text("user", "Weather in Paris?")
CALL = {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"at": "Paris"}}
CALLING = {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm"}, CALL]}
RESULT = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rainy"}]}
RAIN = text("assistant", "Rain.", finish_reason="stop")
INSTRUCTIONS = [{"type": "text", "content": "Be brief."}]


def any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": k, "value": any_value(v)} for k, v in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(one) for one in value]}}
    return {"stringValue": value}


def span(
    begin: int, operation: str = "chat", *, structured: bool = False, **attributes: Any
) -> dict[str, Any]:
    named = {f"gen_ai.{name.replace('__', '.')}": value for name, value in attributes.items()}
    encoded = {
        key: any_value(value if structured or isinstance(value, str) else json.dumps(value))
        for key, value in {"gen_ai.operation.name": operation, **named}.items()
    }
    return {
        "traceId": "t",
        "spanId": f"s{begin}",
        "startTimeUnixNano": str(1_731_368_639_000_000_000 + begin),
        "attributes": [{"key": key, "value": value} for key, value in encoded.items()],
    }


def export(*spans: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


WEATHER = [
    ("system", "Be brief."),
    ("user", "Weather in Paris?"),
    ("assistant", ""),
    ("tool", "rainy"),
    ("assistant", "Rain."),
]


def test_inferences_that_repeat_their_history_are_one_conversation() -> None:
    for structured in (False, True):
        first = span(
            1,
            structured=structured,
            system_instructions=INSTRUCTIONS,
            input__messages=[USER],
            output__messages=[CALLING],
            request__model="m",
        )
        second = span(
            3,
            structured=structured,
            system_instructions=INSTRUCTIONS,
            input__messages=[USER, CALLING, RESULT],
            output__messages=[RAIN],
        )
        around = span(
            0, "invoke_agent", structured=structured, input__messages=[USER], output__messages=[RAIN]
        )
        tool = span(2, "execute_tool", tool__call__id="c1")
        form, parsed = read(json.dumps(export(second, around, tool, first), indent=1).encode(), "x.json")
        assert form == "otel-genai"
        assert said(parsed) == WEATHER
        assert parsed.turns[2].tool_calls[0].id == parsed.turns[3].tool_call_id == "c1"
        assert parsed.turns[2].model == "m"
        assert parsed.turns[0].ts == 1_731_368_639_000
        assert len({turn.conversation_id for turn in parsed.turns}) == 1


def test_a_named_conversation_goes_on_over_exports() -> None:
    first = span(1, conversation__id="conv", input__messages=[USER], output__messages=[RAIN])
    asked = [USER, RAIN, text("user", "Sure?")]
    second = span(
        2, conversation__id="conv", input__messages=asked, output__messages=[text("assistant", "Yes.")]
    )
    _, parsed = read(lines(export(first), export(second)))
    assert said(parsed) == [
        ("user", "Weather in Paris?"), ("assistant", "Rain."), ("user", "Sure?"), ("assistant", "Yes."),
    ]  # fmt: skip
    assert {turn.conversation_id for turn in parsed.turns} == {"conv"}


def test_flat_spans_and_the_event_with_the_details() -> None:
    details = {
        "name": "gen_ai.client.inference.operation.details",
        "attributes": {"gen_ai.input.messages": [USER], "gen_ai.output.messages": [RAIN]},
    }
    flat = {
        "name": "chat m",
        "context": {"trace_id": "t", "span_id": "s"},
        "start_time": "2026-01-01T00:00:00.000000Z",
        "attributes": {"gen_ai.operation.name": "chat", "gen_ai.response.model": "m-1"},
        "events": [details],
    }
    form, parsed = read(lines(flat))
    assert form == "otel-genai"
    assert said(parsed) == [("user", "Weather in Paris?"), ("assistant", "Rain.")]
    assert (parsed.turns[1].model, parsed.turns[0].ts) == ("m-1", 1_767_225_600_000)


def test_the_older_conventions_have_one_event_a_message() -> None:
    called = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    bodies = [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Weather in Paris?"}),
        ("gen_ai.assistant.message", {"tool_calls": called}),
        ("gen_ai.tool.message", {"id": "c1", "content": "rainy"}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "Rain."}}),
    ]
    records = [
        {"spanId": "s", "timeUnixNano": str(10**18 + n), "eventName": name, "body": any_value(body),
         "attributes": []}
        for n, (name, body) in enumerate(bodies)
    ]  # fmt: skip
    records[4]["body"] = any_value({"message": {"content": "Rain."}})
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    form, parsed = read(json.dumps(logs).encode(), "x.json")
    assert (form, said(parsed)) == ("otel-genai", WEATHER)
    on_span = {**span(1), "events": [{"name": n, "attributes": [{"key": k, "value": any_value(v)}
               for k, v in body.items()]} for n, body in bodies]}  # fmt: skip
    assert said(read(lines(export(on_span)))[1]) == WEATHER


def test_media_and_spans_without_content() -> None:
    image = {"type": "blob", "modality": "image", "content": "AAAA"}
    asked = {"role": "user", "parts": [image, {"type": "text", "content": "What is it?"}]}
    failed = text("assistant", "It i", finish_reason="error")
    _, parsed = read(lines(export(span(1, input__messages=[asked], output__messages=[failed]), span(2))))
    assert said(parsed) == [("user", "[image]\nWhat is it?"), ("assistant", "It i")]
    assert parsed.turns[1].interrupted
    assert (parsed.interrupts, parsed.metadata) == (1, 1)
