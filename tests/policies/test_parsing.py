from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import InputError
from policies.messages import MAX_CONTENT
from policies.parsing import (
    decode,
    derived_event_id,
    parse_command,
    parse_correction,
    parse_time,
    parse_turn,
    parse_turns,
    rejected,
)

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z
TURN: dict[str, Any] = {"event_id": "e", "conversation_id": "c", "role": "user", "content": "Hi"}


def test_a_full_turn() -> None:
    turn = parse_turn(
        {
            **TURN,
            "role": "assistant",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
            "tool_calls": [
                {"id": "x", "type": "function", "function": {"name": "run", "arguments": {"a": [1]}}},
                {"name": "flat", "arguments": "{}"},
            ],
            "ts": "2026-01-01T01:00:00.5+01:00",
            "model": "m",
            "weight_version": "v3",
            "something": "new",
        },
        NOW,
    )
    assert (turn.content, turn.ts, turn.model, turn.weight_version) == ("ab", 1_767_225_600_500, "m", "v3")
    assert [(c.id, c.name, c.arguments) for c in turn.tool_calls] == [
        ("x", "run", '{"a": [1]}'),
        ("call-1", "flat", "{}"),
    ]


def test_absent_fields() -> None:
    turn = parse_turn({**TURN, "content": None}, NOW)
    assert (turn.content, turn.ts, turn.tool_calls) == ("", NOW, ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"role": "wizard"}, "role:"),
        ({"content": 5}, "content:"),
        ({"content": "x" * (MAX_CONTENT + 1)}, "content:"),
        ({"content": [{"type": "text", "text": 5}]}, "content[0]:"),
        ({"content": "\ud800"}, "content: character 0"),
        ({"event_id": None}, "event_id:"),
        ({"event_id": ""}, "event_id:"),
        ({"event_id": "x" * 201}, "event_id:"),
        ({"conversation_id": 7}, "conversation_id:"),
        ({"ts": 5}, "ts:"),
        ({"ts": "yesterday"}, "ts:"),
        ({"ts": "2026-01-01T00:00:00"}, "ts:"),
        ({"ts": "1960-01-01T00:00:00Z"}, "ts:"),
        ({"ts": "2027-01-16T09:00:00Z"}, "ts:"),
        ({"event_id": "7ZZZZZZZZZ0000000000000000"}, "event_id:"),
        ({"tool_calls": {}}, "tool_calls:"),
        ({"tool_calls": [{"function": {"arguments": "{}"}}]}, "tool_calls[0].name:"),
        ({"tool_calls": [{"function": 5}]}, "tool_calls[0].function:"),
        ({"tool_calls": [{"id": 5, "name": "x"}]}, "tool_calls[0].id:"),
        ({"tool_calls": [{"name": "\udfff"}]}, "tool_calls[0].name:"),
    ],
)
def test_a_bad_turn_is_one_line_that_names_the_field(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as error:
        parse_turn({**TURN, **change}, NOW)
    assert str(error.value).startswith(reason)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("payload", [None, [], "x", 5, True])
def test_a_turn_is_an_object(payload: object) -> None:
    with pytest.raises(InputError, match="object"):
        parse_turn(payload, NOW)


def test_a_ulid_of_today_is_fine() -> None:
    assert parse_turn({**TURN, "event_id": "01KF0000000000000000000000"}, NOW).event_id.startswith("01KF")
    assert parse_time("2027-01-16T07:59:00Z", NOW) > NOW


def test_good_turns_beside_bad_ones_go_through() -> None:
    bare = {"event_id": "e1", "role": "user", "content": "Hi"}
    payload = {"conversation_id": "c", "turns": [bare, {**bare, "role": "x"}, 5, {**bare, "event_id": "e2"}]}
    turns, bad = parse_turns(payload, NOW)
    assert [(t.event_id, t.conversation_id) for t in turns] == [("e1", "c"), ("e2", "c")]
    assert [(b.place, b.reason.split(":")[0]) for b in bad] == [
        ("message, turns[1]", "role"),
        ("message, turns[2]", "a JSON object is needed, not a number"),
    ]
    assert json.loads(bad[0].payload)["role"] == "x"
    assert parse_turns(TURN, NOW)[0] == [parse_turn(TURN, NOW)]
    assert parse_turns({"turns": 5}, NOW)[1][0].reason == "turns: a list is needed, not a number"


def test_correction_and_command() -> None:
    said = {"event_id": "k", "conversation_id": "c", "turn_event_id": "e", "verdict": "ignored"}
    assert parse_correction(said, NOW).verdict == "ignored"
    assert parse_command({"event_id": "k", "command": "pause"}, NOW).args == {}
    with pytest.raises(InputError, match=r"^verdict:"):
        parse_correction({**said, "verdict": "bad"}, NOW)
    with pytest.raises(InputError, match=r"^corrected:"):
        parse_correction({**said, "corrected": "\ud800"}, NOW)
    with pytest.raises(InputError, match=r"^command:"):
        parse_command({"event_id": "k", "command": "explode"}, NOW)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "JSON is nested too deeply"),
        (b'{"a": NaN}', "not JSON"),
        (b"1" * 10_000, "not JSON"),
    ],
)
def test_decode(raw: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"^{reason}"):
        decode(raw)


def test_a_dead_letter_keeps_the_beginning_and_the_size() -> None:
    letter = rejected("here", "why", "é" * 100_000)
    assert (letter.size, len(letter.payload)) == (200_000, 65_536)
    assert rejected("here", "why", b"\xff" * 10).payload == "\ufffd" * 10
    rejected("here", "why", {"a": "\ud800"}).payload.encode("utf-8")


def test_derived_ids() -> None:
    assert derived_event_id("c", 1, "user", "Hi") == derived_event_id("c", 1, "user", "Hi")
    ids = {derived_event_id(c, n, r, t) for c in "ab" for n in (1, 2) for r in ("user", "tool") for t in "xy"}
    assert len(ids) == 16


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "event_id",
    "conversation_id",
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "ts",
    "model",
    "turns",
)


@given(values | st.fixed_dictionaries({}, optional={name: values | st.just("user") for name in FIELDS}))
def test_no_value_makes_parsing_fail_otherwise(value: Any) -> None:
    turns, bad = parse_turns(value, NOW)
    assert all(b.reason for b in bad)
    for turn in turns:
        json.dumps(turn.message(), ensure_ascii=False).encode("utf-8")
    for parse in (parse_correction, parse_command):
        with pytest.raises(InputError):
            parse(value, NOW)
