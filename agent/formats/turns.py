"""Make turns out of what a log says: texts, times and ids as they should be, whatever the log holds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from agent.formats.base import Parsed, Place, Remark
from policies.errors import InputError
from policies.parsing import FUTURE_MS, derived_event_id, parse_turn, rejected
from policies.turn import Role

CLOCK_BACK = "the clock goes back"
NO_TIME = "no usable time"

_SURROGATE = re.compile("[\ud800-\udfff]")
_MEDIA = {
    "image": "[image]",
    "input_image": "[image]",
    "image_url": "[image]",
    "input_audio": "[audio]",
    "audio": "[audio]",
    "document": "[document]",
    "file": "[file]",
    "input_file": "[file]",
}


class Times(BaseModel):
    """Reads the times of one conversation; where there is none the last one goes on."""

    last: int | None = None

    def read(self, value: object, place: Place) -> tuple[int, tuple[Remark, ...]]:
        """Return UTC milliseconds for RFC 3339 text or a number (s or ms), and what was odd about it."""
        ts = _milliseconds(value)
        if ts is None or not 0 <= ts <= place.now_ms + FUTURE_MS:
            odd = value is not None
            ts = place.now_ms if self.last is None else self.last
            return ts, (Remark(place.at, NO_TIME),) if odd else ()
        back = self.last is not None and ts < self.last
        self.last = ts
        return ts, (Remark(place.at, CLOCK_BACK),) if back else ()


def make_turn(
    place: Place,
    conversation: str,
    key: object,
    role: Role,
    content: str,
    *,
    ts: int,
    calls: list[dict[str, str]] | None = None,
    call_id: str | None = None,
    model: object = None,
    interrupted: bool = False,
) -> Parsed:
    """Return one turn, or the dead letter that says why it is none.

    `key` tells turns of the same conversation, role and content apart; `calls` are flat `{"id", "name",
    "arguments"}`.
    """
    content = whole_text(content)
    calls = [{name: whole_text(value) for name, value in call.items()} for call in calls or []]
    record = {
        "event_id": derived_event_id(conversation, key, role, [content, calls, call_id]),
        "conversation_id": conversation,
        "role": role,
        "content": content,
        "tool_calls": calls,
        "tool_call_id": None if call_id is None else whole_text(call_id),
        "model": whole_text(model) if isinstance(model, str) else None,
        "interrupted": interrupted,
    }
    try:
        return Parsed(turns=(parse_turn(record, ts),))
    except InputError as error:
        return Parsed(rejected=(rejected(place.at, str(error), record),))


def refuse(place: Place, reason: str, record: object) -> Parsed:
    """Return the dead letter of a record that could not be read."""
    return Parsed(rejected=(rejected(place.at, reason, record),))


def unknown(place: Place, kind: object, record: object) -> Parsed:
    """Return the dead letter of a record of a kind that the format does not know."""
    return refuse(place, f"not understood: record type {short(kind)}", record)


def word(record: Mapping[str, Any], key: str) -> str:
    """Return the text of a field; "" where it is none."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def kind_of(record: object) -> object:
    """Name the kind of a record as well as its shape allows."""
    if not isinstance(record, Mapping):
        return type(record).__name__
    for key in ("type", "kind", "event", "object", "role"):
        if isinstance(record.get(key), str):
            return record[key]
    return "{" + ", ".join(map(str, list(record)[:4])) + "}"


def short(kind: object) -> str:
    """Return a value as it is named in a reason, in few characters."""
    return repr(kind)[:60]


def conversation_name(*parts: object) -> str:
    """Return a conversation id of some parts, hashed when it would be too long."""
    name = "/".join(whole_text(str(part)) for part in parts)
    return name if 0 < len(name) <= 200 else digest(name)


def digest(value: object) -> str:
    """Return a short hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("ascii", "backslashreplace")).hexdigest()[:24]


def whole_text(text: str) -> str:
    """Return text without halves of surrogate pairs, which cut logs hold and no store takes."""
    return _SURROGATE.sub("\ufffd", text) if _SURROGATE.search(text) else text


def json_text(value: object) -> str:
    """Return arguments or a result as the JSON text that they were; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def call(call_id: object, name: object, arguments: object) -> dict[str, str]:
    """Return one flat tool call; what is missing gets a name, so that no call is lost."""
    return {
        "id": call_id if isinstance(call_id, str) and call_id else f"call-{digest([name, arguments])}",
        "name": name if isinstance(name, str) and name else "unnamed",
        "arguments": "{}" if arguments is None else json_text(arguments),
    }


def text_of(content: object, joint: str = "\n") -> str:
    """Return the text of a message or result: text, parts of it, or parts that wrap others.

    Images, audio and files leave a word in brackets; reasoning is left out.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return _part(content)
    if isinstance(content, list):
        return joint.join(filter(None, (text_of(part, joint) for part in content)))
    return json_text(content)


def _part(part: Mapping[str, Any]) -> str:
    kind = word(part, "type")
    if kind in ("thinking", "redacted_thinking", "reasoning"):
        return ""
    if kind in _MEDIA:
        return _MEDIA[kind]
    for name in ("text", "content", "output", "refusal"):
        if isinstance(part.get(name), str | list):
            return text_of(part[name])
    if "inlineData" in part or "fileData" in part:
        return "[file]"
    return json_text(part)


def _milliseconds(value: object) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _of_number(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _of_number(value: float) -> int | None:
    """Read seconds, milliseconds, microseconds or nanoseconds since 1970, by their size."""
    if not 0 <= value < 1e20:
        return None
    for scale in (1e-3, 1, 1e3, 1e6):
        if value < 1e11 * scale * 1e3:
            return int(value / scale)
    return None
