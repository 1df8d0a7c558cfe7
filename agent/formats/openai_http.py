"""Requests to an OpenAI-compatible server with their answers: Chat Completions and Responses.

As a logging proxy writes them: `{"request", "response"}` records, `{"messages", "response"}` records, VCR
cassettes, HAR files, a bare answer or a bare SSE stream. A body is an object, JSON text, or SSE text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agent.formats.base import Parsed, Place, Remark, total
from agent.formats.history import Exchange, Histories, Message, merged
from agent.formats.sse import assemble, is_stream
from agent.formats.state import State, StatefulReader
from agent.formats.turns import Times, call, refuse, text_of, word
from policies.sentences import word_set

OTHER_CHOICES = "further choices of an answer, not taken"

_REQUEST_KEYS = ("request", "req", "request_body", "kwargs")
_RESPONSE_KEYS = ("response", "res", "response_body", "completion")
_TIME_KEYS = (
    "timestamp",
    "ts",
    "time",
    "created_at",
    "start_time",
    "startTime",
    "startedDateTime",
    "recorded_at",
)
_SILENT_ITEMS = word_set(
    """
    reasoning item_reference web_search_call file_search_call code_interpreter_call
    image_generation_call mcp_list_tools mcp_call mcp_approval_request mcp_approval_response compaction
    """
)


class _State(State):
    histories: Histories = Histories()
    times: Times = Times()


class OpenAIHttp:
    """Logged exchanges with an OpenAI-compatible server."""

    name = "openai-http"

    def accepts(self, record: Any) -> bool:
        """Look for a cassette, a HAR file, a request beside its response, or an answer by itself."""
        if isinstance(record, str):
            return is_stream(record)
        if not isinstance(record, Mapping):
            return False
        if isinstance(record.get("interactions"), list) or _har_entries(record) is not None:
            return True
        answer = _first(record, _RESPONSE_KEYS)
        asked = _body(_first(record, _REQUEST_KEYS))
        if _is_request(asked) or (_is_request(record) and answer is not None):
            return True
        return _is_answer(record) or (isinstance(record.get("input"), str | list) and "model" in record)

    def reader(self, state: str = "") -> OpenAIHttpReader:
        """Return a reader of one log."""
        return OpenAIHttpReader(_State.restored(state))


class OpenAIHttpReader(StatefulReader[_State]):
    """Reads one log of exchanges."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take the next record."""
        if not isinstance(record, Mapping | str):
            return refuse(place, "not understood: neither a request nor an answer", record)
        return total(
            self._exchange(*exchange, place.part(f"exchange {n}", place.position + n))
            for n, exchange in enumerate(_exchanges(record))
        )

    def _exchange(self, request: Any, response: Any, around: Mapping[str, Any], place: Place) -> Parsed:
        asked, answered = _body(request), _body(response)
        complete = True
        if isinstance(answered, str) and is_stream(answered):
            streamed = assemble(answered)
            answered, complete = streamed.body, streamed.complete
        asked = asked if isinstance(asked, Mapping) else {}
        answered = answered if isinstance(answered, Mapping) else {}
        if not _is_request(asked) and not _is_answer(answered):
            if answered.get("error") or asked:
                return Parsed(metadata=1)
            return refuse(place, "not understood: neither a request nor an answer", response or request)
        when = next(
            (one[k] for one in (answered, around) for k in ("created", *_TIME_KEYS) if one.get(k)), None
        )
        ts, odd = self._state.times.read(when, place)
        answer, others = _answer(answered, complete)
        exchange = Exchange(
            messages=tuple(_asked(asked)),
            answer=answer,
            conversation=_named(asked, around),
            previous=_text(asked.get("previous_response_id") or answered.get("previous_response_id")),
            identity=_text(answered.get("id")),
            model=answered.get("model") or asked.get("model"),
            ts=ts,
        )
        remarks = (*odd, *([Remark(place.at, OTHER_CHOICES)] if others else []))
        return self._state.histories.take(exchange, place) + Parsed(remarks=remarks)


def _exchanges(record: Mapping[str, Any] | str) -> Iterator[tuple[Any, Any, Mapping[str, Any]]]:
    """Yield each request, its response, and the record around them."""
    if isinstance(record, str):
        yield None, record, {}
        return
    pairs = record.get("interactions")
    pairs = pairs if isinstance(pairs, list) else _har_entries(record)
    if pairs is not None:
        for pair in pairs:
            if isinstance(pair, Mapping):
                yield pair.get("request"), pair.get("response"), pair
        return
    request, response = _first(record, _REQUEST_KEYS), _first(record, _RESPONSE_KEYS)
    if _is_answer(record):
        yield None, record, record
    else:
        yield (record if request is None else request), response, record


def _har_entries(record: Mapping[str, Any]) -> list[Any] | None:
    log = record.get("log")
    entries = log.get("entries") if isinstance(log, Mapping) else None
    return entries if isinstance(entries, list) else None


def _body(message: Any) -> Any:
    """Return the body of a request or response, decoded where it is JSON text."""
    for _ in range(4):
        if isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        if isinstance(message, str):
            if is_stream(message):
                return message
            try:
                return json.loads(message)
            except (ValueError, RecursionError):
                return message
        if not isinstance(message, Mapping) or _is_request(message) or _is_answer(message):
            return message
        inner = next(
            (
                message[k]
                for k in ("body", "json", "postData", "content", "string", "text", "data")
                if message.get(k)
            ),
            None,
        )
        if inner is None:
            return message
        message = inner
    return message


def _is_request(body: Any) -> bool:
    return isinstance(body, Mapping) and (
        isinstance(body.get("messages"), list)
        or (isinstance(body.get("input"), str | list) and "output" not in body)
    )


def _is_answer(body: Any) -> bool:
    if not isinstance(body, Mapping):
        return False
    if isinstance(body.get("choices"), list):
        return True
    return body.get("object") == "response" and isinstance(body.get("output"), list)


def _asked(body: Mapping[str, Any]) -> Iterator[Message]:
    """Yield the messages of a request."""
    if isinstance(body.get("instructions"), str) and body["instructions"].strip():
        yield Message("system", body["instructions"])
    asked = body.get("messages", body.get("input"))
    if isinstance(asked, str):
        yield Message("user", asked)
    elif isinstance(asked, list):
        yield from merged([m for item in asked for m in _message(item)])


def _message(item: Any) -> Iterator[Message]:
    """Yield the message that an item of either API is; nothing for reasoning and what the provider ran."""
    if isinstance(item, str):
        yield Message("user", item)
    if not isinstance(item, Mapping):
        return
    kind = word(item, "type")
    if kind in ("function_call", "custom_tool_call", "local_shell_call", "computer_call", "shell_call"):
        arguments = item.get("arguments", item.get("input", item.get("action")))
        one = call(item.get("call_id") or item.get("id"), item.get("name") or kind, arguments)
        yield Message("assistant", calls=(one,))
    elif kind.endswith("_call_output"):
        yield Message("tool", text_of(item.get("output")), call_id=_text(item.get("call_id")))
    elif kind not in _SILENT_ITEMS and "role" in item:
        yield Message(
            str(item["role"]),
            text_of(item.get("content")) or text_of(item.get("refusal")),
            calls=tuple(_calls(item)),
            call_id=_text(item.get("tool_call_id")),
        )


def _calls(message: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    calls = message.get("tool_calls")
    for one in calls if isinstance(calls, list) else []:
        if isinstance(one, Mapping):
            body = one.get("function") or one.get("custom") or one
            body = body if isinstance(body, Mapping) else {}
            yield call(one.get("id"), body.get("name"), body.get("arguments", body.get("input")))
    old = message.get("function_call")
    if isinstance(old, Mapping):
        yield call(None, old.get("name"), old.get("arguments"))


def _answer(body: Mapping[str, Any], complete: bool) -> tuple[Message | None, int]:
    """Return the answer, and how many more there were to choose from."""
    broken_off = not complete or word(body, "status") in ("cancelled", "failed")
    choices = body.get("choices")
    if isinstance(choices, list):
        first = next((c for c in choices if isinstance(c, Mapping) and c.get("index", 0) == 0), None)
        message = first.get("message") if first is not None else None
        if first is not None and message is None and isinstance(first.get("text"), str):
            message = {"role": "assistant", "content": first["text"]}
        parts = list(_message({**message, "role": "assistant"})) if isinstance(message, Mapping) else []
    else:
        output = body.get("output")
        parts = [m for item in output for m in _message(item)] if isinstance(output, list) else []
    said = [m for m in parts if m.content.strip() or m.calls]
    if not said and not (body and not complete):
        return None, 0
    answer = Message(
        "assistant",
        "\n\n".join(m.content for m in said if m.content.strip()),
        tuple(c for m in said for c in m.calls),
        interrupted=broken_off,
    )
    return answer, len(choices) - 1 if isinstance(choices, list) and choices else 0


def _named(*bodies: Mapping[str, Any]) -> str | None:
    """Return the conversation that a request or the record around it names."""
    for body in bodies:
        metadata = body.get("metadata")
        for where in (body, metadata if isinstance(metadata, Mapping) else {}):
            for key in ("conversation_id", "conversation", "session_id", "thread_id"):
                value = where.get(key)
                value = value.get("id") if isinstance(value, Mapping) else value
                if isinstance(value, str) and value:
                    return value
    return None


def _first(record: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((record[key] for key in keys if record.get(key) is not None), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
