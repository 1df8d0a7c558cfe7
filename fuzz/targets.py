"""What reads bytes from outside. A target returns, whatever they are: bad input is no exception."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from agent.address import parse_url
from agent.formats import read_stream
from agent.formats.base import total
from policies.errors import ConfigError, InputError
from policies.labelling import ConstraintLabeller, ReactionLabeller, cases, judge
from policies.parsing import decode, parse_command, parse_correction, parse_turns, rejected
from policies.redaction import redact

NOW_MS = 1_800_000_000_000

Target = Callable[[bytes], None]


def bus(data: bytes) -> None:
    """Read one message of every inbound channel, and make a dead letter of it."""
    rejected("message", "fuzzed", data)
    with suppress(InputError):
        payload = decode(data)
        turns, bad = parse_turns(payload, NOW_MS)
        assert all(turn.content.encode() is not None for turn in turns)
        assert all(letter.size >= 0 for letter in bad)
    for parse in (parse_correction, parse_command):
        with suppress(InputError):
            parse(decode(data), NOW_MS)


def log(data: bytes) -> None:
    """Read a log file of any format, as lines and as a document."""
    for name in ("fuzzed/a.jsonl", "fuzzed/a.json", "fuzzed/a.yaml"):
        parsed = total(read_stream(io.BytesIO(data), name, NOW_MS).pieces)
        assert all(turn.event_id for turn in parsed.turns)
        for turn in parsed.turns:
            json.dumps(turn.model_dump(), ensure_ascii=False).encode()


def labels(data: bytes) -> None:
    """Label a conversation whose texts are the bytes: directions, constraints, reactions."""
    texts = data.decode("utf-8", "replace").split("\0")
    roles = ("system", "user", "assistant", "user")
    turns = [
        {"event_id": f"e{n}", "conversation_id": "c", "role": roles[n % 4], "content": text}
        for n, text in enumerate(texts[:8])
    ]
    read, _ = parse_turns({"turns": turns}, NOW_MS)
    for case in cases(read):
        judge(case, (ConstraintLabeller(None), ReactionLabeller(None)))


def redaction(data: bytes) -> None:
    """Redact text: done after once."""
    text = data.decode("utf-8", "surrogateescape")
    once = redact(text, _tag)
    assert redact(once, _tag) == once


def url(data: bytes) -> None:
    """Read the address of a broker; the message of an error never holds the password."""
    with suppress(ConfigError):
        parse_url(data.decode("utf-8", "replace"))


def _tag(kind: str, _: str) -> str:
    return f"<secret:{kind}:ab12cd>"


TARGETS: dict[str, Target] = {
    "bus": bus,
    "log": log,
    "labels": labels,
    "redaction": redaction,
    "url": url,
}


def seeds() -> Iterator[bytes]:
    """Yield well-formed input to begin with: the shapes that random bytes would take ages to find."""
    turn: dict[str, Any] = {
        "event_id": "e1",
        "conversation_id": "c",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hi"}],
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "ts": "2026-01-31T12:00:00Z",
    }
    yield json.dumps(turn).encode()
    yield json.dumps({"conversation_id": "c", "turns": [turn, turn]}).encode()
    yield b'{"event_id": "k", "conversation_id": "c", "turn_event_id": "e1", "verdict": "ignored"}'
    yield b'{"event_id": "o", "command": "rollback", "args": {"to": "v"}}'
    yield b'{"type":"user","sessionId":"s","uuid":"u","message":{"role":"user","content":"Hi"}}\n'
    yield b'{"timestamp":"2026-01-01T00:00:00Z","type":"response_item","payload":{"type":"message",' + (
        b'"role":"user","content":[{"type":"input_text","text":"Hi"}]}}\n'
    )
    yield b'{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}\n'
    yield b'{"trajectory":[{"role":"user","content":"x"}],"history":[{"role":"system","content":"y"}]}'
    yield b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"chat","attributes":[]}]}]}]}\n'
    yield b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n'
    yield b'Answer in JSON with the single key "a".\0What is rain?\0Water.\0I told you: JSON!'
    yield b"OPENAI_API_KEY=sk-abcdefghijklmnopqrstuvwxyz0123456789 postgres://a:b3cd@host/x"
    yield b"mqtts://user:p%40ss@broker.example:8883"
