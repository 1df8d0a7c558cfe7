"""Conversations in the shape of OpenAI chat messages.

A line of JSONL is one turn (with `conversation_id`), a conversation `{"messages": [...]}`, or
`{"conversation_id", "turns": [...]}`. A whole JSON document is a list of messages or of such records.
Ids that a log leaves out are derived, so that the same log read again gives the same turns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from agent.formats.base import Line, Parsed, bounded_lines, read_document
from policies.errors import InputError
from policies.parsing import decode, derived_event_id, parse_turns, rejected

_LISTS = ("messages", "turns")


class OpenAILines:
    """JSONL of turns or conversations."""

    name = "openai-lines"

    def recognises(self, head: bytes) -> bool:
        """Look for a line that is an object with a role or a list of messages."""
        first = next((line for line in head.split(b"\n") if line.strip()), b"")
        if not first.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") or first.strip() == b"{":
            return False
        return re.search(rb'"(?:role|messages|turns)"\s*:', head) is not None

    def read(self, stream: BinaryIO, name: str, now_ms: int) -> Iterator[Parsed]:
        """Yield each line that is not blank."""
        for line in bounded_lines(stream):
            if line.content.strip() or line.too_long:
                yield parse_line(line, name, now_ms)


class OpenAIDocument:
    """One JSON document: a list of messages, a list of conversations, or one conversation."""

    name = "openai-document"

    def recognises(self, head: bytes) -> bool:
        """Look for a list or a spread-out object that speaks of roles and messages."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        return start in (b"[", b"{") and re.search(rb'"(?:role|messages|turns)"\s*:', head) is not None

    def read(self, stream: BinaryIO, name: str, now_ms: int) -> Iterator[Parsed]:
        """Yield each conversation of the document."""
        document, bad = read_document(stream, name)
        if bad is not None:
            yield Parsed(rejected=(bad,))
            return
        if isinstance(document, list) and any(isinstance(m, Mapping) and "role" in m for m in document):
            with_id = all(isinstance(m, Mapping) and "conversation_id" in m for m in document)
            document = document if with_id else {"messages": document}
        for number, record in enumerate(document if isinstance(document, list) else [document]):
            yield _record(record, f"{name}, record {number}", number, now_ms)


def parse_line(line: Line, name: str, now_ms: int) -> Parsed:
    """Read one line of a JSONL log; the place of each rejected record names file and line."""
    place = f"{name}, line {line.number}"
    if line.too_long:
        reason = f"a line of {line.size} bytes, at most {len(line.content)} are read"
        return Parsed(rejected=(rejected(place, reason, line.content),))
    try:
        record = decode(line.content)
    except InputError as error:
        return Parsed(rejected=(rejected(place, str(error), line.content),))
    return _record(record, place, line.offset, now_ms)


def _record(record: Any, place: str, position: int, now_ms: int) -> Parsed:
    """Read one decoded record; `position` tells equal turns without id and time apart."""
    if not isinstance(record, Mapping):
        return Parsed(rejected=(rejected(place, "a JSON object is needed", record),))
    key = next((key for key in _LISTS if key in record), None)
    if key is None:
        if "role" not in record:
            reason = "not understood: neither a turn (role) nor a conversation (messages, turns)"
            return Parsed(rejected=(rejected(place, reason, record),))
        turns, bad = parse_turns(_identified(record, record.get("ts") or position), now_ms, place)
        return Parsed(tuple(turns), tuple(bad))
    items = record[key]
    if not isinstance(items, list):
        return Parsed(rejected=(rejected(place, f"{key}: a list is needed", record),))
    conversation = record.get("conversation_id") or _conversation_id(items, position)
    shared = {"conversation_id": conversation, **{k: record[k] for k in ("model", "ts") if k in record}}
    filled = [_identified({**shared, **i}, n) if isinstance(i, Mapping) else i for n, i in enumerate(items)]
    turns, bad = parse_turns({"turns": filled}, now_ms, place)
    return Parsed(tuple(turns), tuple(bad))


def _identified(record: Mapping[str, Any], position: object) -> dict[str, Any]:
    """Give a turn without `event_id` one of its conversation, place, role and content."""
    if record.get("event_id") is not None or not isinstance(record.get("conversation_id"), str):
        return dict(record)
    event_id = derived_event_id(
        record["conversation_id"],
        position,
        record.get("role"),
        [record.get("content"), record.get("tool_calls")],
    )
    return {**record, "event_id": event_id}


def _conversation_id(messages: list[Any], position: int) -> str:
    text = repr((position, messages)).encode("utf-8", "backslashreplace")
    return "c" + hashlib.sha256(text).hexdigest()[:31]
