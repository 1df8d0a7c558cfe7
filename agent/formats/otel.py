"""OpenTelemetry GenAI: spans and log records that carry messages, by the semantic conventions.

Read are OTLP/JSON (`resourceSpans`, `resourceLogs`) and the flat spans of console exporters. Messages stand
in `gen_ai.input.messages`, `gen_ai.output.messages` and `gen_ai.system_instructions`, as attributes or on the
event `gen_ai.client.inference.operation.details`; before version 1.37 in one event per message
(`gen_ai.user.message`, `gen_ai.choice` ...). Each inference repeats the history: what is new becomes turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agent.formats.base import Parsed, Place, total
from agent.formats.history import Exchange, Histories, Message
from agent.formats.state import State, StatefulReader
from agent.formats.turns import Times, call, refuse, text_of, word
from policies.sentences import word_set

_NO_INFERENCE = word_set(
    """
    invoke_agent create_agent execute_tool embeddings invoke_workflow retrieval plan
    """
)
_EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.developer.message": "developer",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "choice",
}
_DETAILS = "gen_ai.client.inference.operation.details"


Said = tuple[list[Message], Message | None]
"""The messages that went into an inference, and the answer."""


class _State(State):
    histories: Histories = Histories()
    times: Times = Times()


class OpenTelemetry:
    """Spans and log records of GenAI instrumentations."""

    name = "otel-genai"

    def accepts(self, record: Any) -> bool:
        """Look for OTLP/JSON, or for a span or log record with GenAI attributes."""
        if isinstance(record, list):
            return any(self.accepts(one) for one in record[:5] if isinstance(one, Mapping))
        if not isinstance(record, Mapping):
            return False
        if isinstance(record.get("resourceSpans"), list) or isinstance(record.get("resourceLogs"), list):
            return True
        if "attributes" not in record:
            return False
        names = [
            *_attributes(record),
            *(_event_name(event) for event in _events(record)),
            _event_name(record),
        ]
        return any(name.startswith("gen_ai.") for name in names)

    def reader(self, state: str = "") -> OpenTelemetryReader:
        """Return a reader of one export."""
        return OpenTelemetryReader(_State.restored(state))


class OpenTelemetryReader(StatefulReader[_State]):
    """Reads spans and log records."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take one export, or one span or log record."""
        spans = sorted(_spans(record), key=_begin)
        if not spans:
            if isinstance(record, Mapping) and ("resourceSpans" in record or "resourceLogs" in record):
                return Parsed(metadata=1)
            return refuse(place, "not understood: neither a span nor a log record", record)
        said = _by_inference(spans)
        return total(
            self._span(span, words, place.part(f"span {n}", place.position + n))
            for n, (span, words) in enumerate(said)
        )

    def _span(self, span: Mapping[str, Any], said: Said, place: Place) -> Parsed:
        messages, answer = said
        if not messages and answer is None:
            return Parsed(metadata=1)
        attributes = _attributes(span)
        ts, odd = self._state.times.read(_begin(span) or None, place)
        conversation = attributes.get("gen_ai.conversation.id")
        identity = attributes.get("gen_ai.response.id")
        exchange = Exchange(
            messages=tuple(messages),
            answer=answer,
            conversation=conversation if isinstance(conversation, str) and conversation else None,
            identity=identity if isinstance(identity, str) else None,
            model=attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model"),
            ts=ts,
        )
        return self._state.histories.take(exchange, place) + Parsed(remarks=odd)


def _by_inference(spans: list[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Said]]:
    """Return what was said in each inference. Spans around inferences repeat it, and are left empty."""
    by_span: dict[str, list[Mapping[str, Any]]] = {}
    said: list[tuple[Mapping[str, Any], Said]] = []
    for span in spans:
        if _event_name(span) in _EVENT_ROLES:
            by_span.setdefault(str(span.get("spanId") or span.get("span_id")), []).append(span)
        else:
            said.append((span, _said(span)))
    said += [(records[-1], _said_in_events(records)) for records in by_span.values()]
    infers = any(_is_inference(span) and words[0] for span, words in said)
    return [(span, words if _is_inference(span) or not infers else ([], None)) for span, words in said]


def _spans(record: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the spans and log records in an export, however they are wrapped."""
    if isinstance(record, list):
        for one in record:
            yield from _spans(one)
    if not isinstance(record, Mapping):
        return
    inner = [
        record[key]
        for key in ("resourceSpans", "resourceLogs", "scopeSpans", "scopeLogs", "spans", "logRecords")
        if isinstance(record.get(key), list)
    ]
    if inner:
        for one in inner:
            yield from _spans(one)
    elif "attributes" in record or "body" in record:
        yield record


def _attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes by name, from an object or from OTLP's list of keys and typed values."""
    attributes = record.get("attributes")
    if isinstance(attributes, Mapping):
        return {str(name): value for name, value in attributes.items()}
    if not isinstance(attributes, list):
        return {}
    return {str(one.get("key")): _value(one.get("value")) for one in attributes if isinstance(one, Mapping)}


def _value(value: Any) -> Any:
    """Return the plain value of an OTLP AnyValue."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        listed = inner.get("values") if isinstance(inner, Mapping) else None
        return [_value(one) for one in listed] if isinstance(listed, list) else []
    if kind == "kvlistValue":
        listed = inner.get("values") if isinstance(inner, Mapping) else None
        pairs = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
        return {str(one.get("key")): _value(one.get("value")) for one in pairs}
    return inner if isinstance(kind, str) and kind.endswith("Value") else value


def _events(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    events = record.get("events")
    return [event for event in events if isinstance(event, Mapping)] if isinstance(events, list) else []


def _event_name(event: Mapping[str, Any]) -> str:
    name = event.get("eventName") or event.get("event_name") or _attributes(event).get("event.name")
    return str(name or event.get("name") or "")


def _begin(span: Mapping[str, Any]) -> int:
    """Return the begin of a span in nanoseconds or as it stands; 0 where it is not known."""
    keys = (
        "startTimeUnixNano",
        "timeUnixNano",
        "observedTimeUnixNano",
        "start_time",
        "startTime",
        "timestamp",
    )
    value = next((span[key] for key in keys if span.get(key)), 0)
    if isinstance(value, str):
        ts = int(value) if value.isdecimal() and len(value) < 25 else None
        return (
            ts if ts is not None else (Times().read(value, Place("", 0, 1 << 50))[0] if "T" in value else 0)
        )
    return int(value) if isinstance(value, int) else 0


def _is_inference(span: Mapping[str, Any]) -> bool:
    return word(_attributes(span), "gen_ai.operation.name") not in _NO_INFERENCE


def _said(span: Mapping[str, Any]) -> Said:
    """Return the messages that went in and the answer, wherever the span holds them."""
    events = _events(span)
    details = next((event for event in events if _event_name(event) == _DETAILS), None)
    attributes = {**_attributes(span), **(_attributes(details) if details is not None else {})}
    messages = [Message("system", text) for text in [_instructions(attributes)] if text]
    messages += [m for one in _listed(attributes, "gen_ai.input.messages") for m in _messages(one)]
    outputs = _listed(attributes, "gen_ai.output.messages")
    answer = next((m for one in outputs[:1] for m in _messages(one) if m.role == "assistant"), None)
    if messages or answer is not None:
        return messages, answer
    return _said_in_events([event for event in events if _event_name(event) in _EVENT_ROLES])


def _instructions(attributes: Mapping[str, Any]) -> str:
    parts = _listed(attributes, "gen_ai.system_instructions")
    return "\n".join(filter(None, (text_of(part) for part in parts)))


def _listed(attributes: Mapping[str, Any], name: str) -> list[Any]:
    """Return a structured attribute, which may be JSON text."""
    value = attributes.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value] if name == "gen_ai.system_instructions" and value else []
    return value if isinstance(value, list) else []


def _messages(message: Any) -> Iterator[Message]:
    """Yield a message; each tool response in it is one of its own."""
    if not isinstance(message, Mapping):
        return
    parts = message.get("parts", message.get("content"))
    parts = parts if isinstance(parts, list) else [parts]
    texts, calls = [], []
    for part in parts:
        kind = word(part, "type") if isinstance(part, Mapping) else ""
        if isinstance(part, Mapping) and kind == "tool_call":
            calls.append(call(part.get("id"), part.get("name"), part.get("arguments")))
        elif isinstance(part, Mapping) and kind == "tool_call_response":
            said = part.get("response", part.get("result"))
            call_id = part.get("id")
            yield Message("tool", text_of(said), call_id=call_id if isinstance(call_id, str) else None)
        elif isinstance(part, Mapping) and kind in ("blob", "uri", "file", "file_data"):
            texts.append(f"[{part.get('modality') or 'file'}]")
        elif kind not in ("reasoning", "server_tool_call", "server_tool_call_response"):
            texts.append(text_of(part))
    text = "\n".join(filter(None, texts))
    if text or calls:
        yield Message(
            str(message.get("role") or "assistant"),
            text,
            tuple(calls),
            interrupted=word(message, "finish_reason") in ("error", "cancelled"),
        )


def _said_in_events(events: list[Mapping[str, Any]]) -> Said:
    """Read the one event per message of the older conventions."""
    messages: list[Message] = []
    answer: Message | None = None
    for event in events:
        body = _value(event.get("body")) or _attributes(event)
        body = _decoded(body)
        if not isinstance(body, Mapping):
            continue
        role = _EVENT_ROLES[_event_name(event)]
        inner = _decoded(body.get("message"))
        said = inner if role == "choice" and isinstance(inner, Mapping) else body
        calls = tuple(_old_calls(_decoded(said.get("tool_calls"))))
        call_id = said.get("id") if role == "tool" else None
        content = text_of(said.get("content", said.get("gen_ai.event.content")))
        if role == "choice":
            answer = answer or Message("assistant", content, calls)
        elif content or calls:
            messages.append(Message(role, content, calls, call_id if isinstance(call_id, str) else None))
    return messages, answer


def _old_calls(calls: Any) -> Iterator[dict[str, str]]:
    for one in calls if isinstance(calls, list) else []:
        if isinstance(one, Mapping):
            body = one.get("function")
            body = body if isinstance(body, Mapping) else one
            yield call(one.get("id"), body.get("name"), body.get("arguments"))


def _decoded(value: Any) -> Any:
    """Return the value of JSON text; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
