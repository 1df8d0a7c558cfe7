"""Read records from outside. A bad one becomes one line that names the field; those beside it go through."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from policies.errors import InputError
from policies.messages import CommandPayload, CorrectionPayload, TurnPayload
from policies.turn import ToolCall, Turn

FUTURE_MS = 86_400_000
"""How far ahead of our clock a time may be."""

MAX_KEPT = 65_536
"""Characters of a rejected record that are kept."""

_MAX_TOOL_CALLS = 1_000
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_Payload = TypeVar("_Payload", bound=BaseModel)


@dataclass(frozen=True)
class Rejected:
    """A record that could not be read: where it stood, why not, its beginning, and its size in bytes."""

    place: str
    reason: str
    payload: str
    size: int


def rejected(place: str, reason: str, payload: object) -> Rejected:
    """Make a dead letter of a record: raw bytes, text, or an already decoded value."""
    if isinstance(payload, bytes):
        size, text = len(payload), payload[: 4 * MAX_KEPT].decode("utf-8", "replace")
    else:
        text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, default=str)
        raw = text.encode("utf-8", "backslashreplace")
        size, text = len(raw), raw[: 4 * MAX_KEPT].decode("utf-8", "replace")
    return Rejected(place, reason, text[:MAX_KEPT], size)


def decode(raw: bytes) -> Any:
    """Decode one JSON document. Raises InputError that says what is wrong with it."""
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise InputError("JSON is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error


def parse_turns(payload: object, now_ms: int, place: str = "message") -> tuple[list[Turn], list[Rejected]]:
    """Read one turn, or `{"conversation_id", "turns": [...]}`; return the good turns and the bad records."""
    if not isinstance(payload, Mapping) or "turns" not in payload:
        return _each([(place, payload)], now_ms)
    records, conversation = payload["turns"], payload.get("conversation_id")
    if not isinstance(records, list):
        return [], [rejected(place, f"turns: a list is needed, not {_type(records)}", payload)]
    shared = {"conversation_id": conversation} if conversation is not None else {}
    return _each(
        [
            (f"{place}, turns[{number}]", {**shared, **record} if isinstance(record, Mapping) else record)
            for number, record in enumerate(records)
        ],
        now_ms,
    )


def parse_turn(payload: object, now_ms: int) -> Turn:
    """Read one turn. Raises InputError; `ts` (RFC 3339) becomes milliseconds, and now where it is absent."""
    record = _validated(TurnPayload, _with_text(payload))
    _check_id(record.event_id, now_ms)
    turn = Turn(
        event_id=record.event_id,
        conversation_id=record.conversation_id,
        role=record.role,
        content=record.content,
        tool_calls=_tool_calls(record.tool_calls or []),
        tool_call_id=record.tool_call_id,
        ts=now_ms if record.ts is None else parse_time(record.ts, now_ms),
        model=record.model,
        weight_version=record.weight_version,
        interrupted=record.interrupted,
    )
    for name, value in turn.model_dump(exclude={"tool_calls", "ts"}).items():
        _check_text(name, value)
    for number, call in enumerate(turn.tool_calls):
        for name, value in call.model_dump().items():
            _check_text(f"tool_calls[{number}].{name}", value)
    return turn


def parse_correction(payload: object, now_ms: int) -> CorrectionPayload:
    """Read a correction. Raises InputError."""
    record = _validated(CorrectionPayload, payload)
    _check_id(record.event_id, now_ms)
    for name, value in record.model_dump().items():
        _check_text(name, value)
    return record


def parse_command(payload: object, now_ms: int) -> CommandPayload:
    """Read a command. Raises InputError."""
    record = _validated(CommandPayload, payload)
    _check_id(record.event_id, now_ms)
    _check_text("event_id", record.event_id)
    _check_text("args", json.dumps(record.args, ensure_ascii=False))
    return record


def parse_time(text: str, now_ms: int) -> int:
    """Turn an RFC 3339 time into UTC milliseconds. Raises InputError for one before 1970 or a day ahead."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"ts: {text[:40]!r} is no RFC 3339 time such as 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        raise InputError(f"ts: {text[:40]!r} has no offset: write Z for UTC")
    try:
        ts = round(moment.timestamp() * 1000)
    except OverflowError as error:
        raise InputError(f"ts: {text[:40]!r} is out of range") from error
    if ts < 0:
        raise InputError(f"ts: {text[:40]!r} lies before 1970")
    if ts > now_ms + FUTURE_MS:
        raise InputError(
            f"ts: {text[:40]!r} is from the future (more than a day ahead of this machine's clock)"
        )
    return ts


def derived_event_id(conversation_id: str, position: object, role: object, content: object) -> str:
    """Return the id of a turn whose log gives none: the same log read again gives the same ids."""
    text = json.dumps([conversation_id, position, role, content], sort_keys=True, default=str)
    return "d" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:31]


def _each(records: list[tuple[str, object]], now_ms: int) -> tuple[list[Turn], list[Rejected]]:
    turns: list[Turn] = []
    bad: list[Rejected] = []
    for place, record in records:
        try:
            turns.append(parse_turn(record, now_ms))
        except InputError as error:
            bad.append(rejected(place, str(error), record))
    return turns, bad


def _validated(model: type[_Payload], payload: object) -> _Payload:
    if not isinstance(payload, Mapping):
        raise InputError(f"a JSON object is needed, not {_type(payload)}")
    try:
        return model.model_validate(dict(payload))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "record"
        raise InputError(f"{field}: {first['msg']}") from error


def _with_text(payload: object) -> object:
    """Join the text parts of a content list, as OpenAI's multimodal messages have them."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("content"), list):
        return payload
    texts = []
    for number, part in enumerate(payload["content"]):
        text = part.get("text", "") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise InputError(f"content[{number}]: text is needed, not {_type(text)}")
        texts.append(text)
    return {**payload, "content": "".join(texts)}


def _tool_calls(records: list[dict[str, Any]]) -> tuple[ToolCall, ...]:
    if len(records) > _MAX_TOOL_CALLS:
        raise InputError(f"tool_calls: {len(records)} calls in one turn, at most {_MAX_TOOL_CALLS} are read")
    return tuple(_tool_call(record, number) for number, record in enumerate(records))


def _tool_call(record: dict[str, Any], number: int) -> ToolCall:
    """Read `{"id", "function": {"name", "arguments"}}`, or the flat form without `function`."""
    body = record.get("function", record)
    if not isinstance(body, Mapping):
        raise InputError(f"tool_calls[{number}].function: an object is needed, not {_type(body)}")
    name, arguments = body.get("name"), body.get("arguments", "{}")
    if not isinstance(name, str) or not name:
        raise InputError(f"tool_calls[{number}].name: text is needed, not {_type(name)}")
    call_id = record.get("id")
    if call_id is not None and not isinstance(call_id, str):
        raise InputError(f"tool_calls[{number}].id: text is needed, not {_type(call_id)}")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=call_id or f"call-{number}", name=name, arguments=arguments)


def _check_id(event_id: str, now_ms: int) -> None:
    """Refuse a ULID whose time lies more than a day ahead; other ids carry no time."""
    if _ULID.fullmatch(event_id):
        made = 0
        for character in event_id[:10]:
            made = made * 32 + _CROCKFORD.index(character)
        if made > now_ms + FUTURE_MS:
            raise InputError(
                f"event_id: {event_id} is from the future (its ULID time is more than a day ahead)"
            )


def _check_text(name: str, value: object) -> None:
    """Refuse lone surrogates: they are legal in JSON, but no store or tokenizer takes them."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"{name}: character {error.start} is half a surrogate pair, not text") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
