from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.formats import (
    FORMATS,
    Format,
    OpenAIDocument,
    OpenAILines,
    Parsed,
    TauBench,
    bounded_lines,
    detect_format,
)
from policies.turn import Turn

NOW = 1_800_000_000_000


def read(form: Format, data: bytes) -> tuple[list[Turn], list[str]]:
    pieces: list[Parsed] = list(form.read(io.BytesIO(data), "log", NOW))
    return [t for p in pieces for t in p.turns], [
        f"{r.place}: {r.reason}" for p in pieces for r in p.rejected
    ]


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


CALL = {"id": "x1", "type": "function", "function": {"name": "run", "arguments": '{"a": 1}'}}


def test_one_turn_a_line() -> None:
    user = {"conversation_id": "c", "role": "user", "content": "Hi"}
    turns, bad = read(
        OpenAILines(),
        lines(
            user | {"event_id": "e1", "ts": "2026-01-01T00:00:00Z"},
            {"conversation_id": "c", "role": "assistant", "content": None, "tool_calls": [CALL]},
            {**user, "role": "tool", "tool_call_id": "x1", "content": [{"type": "text", "text": "ok"}]},
        ),
    )  # fmt: skip
    assert bad == []
    assert [(t.role, t.content) for t in turns] == [("user", "Hi"), ("assistant", ""), ("tool", "ok")]
    assert (turns[0].event_id, turns[0].ts, turns[1].ts) == ("e1", 1_767_225_600_000, NOW)
    assert (turns[1].tool_calls[0].name, turns[1].tool_calls[0].arguments) == ("run", '{"a": 1}')


@pytest.mark.parametrize("key", ["messages", "turns"])
def test_one_conversation_a_line(key: str) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]
    turns, bad = read(OpenAILines(), lines({"conversation_id": "c", key: talk}, {key: talk}, {key: talk}))
    assert bad == []
    assert len(turns) == 6
    assert [t.conversation_id for t in turns[:2]] == ["c", "c"]
    assert len({t.conversation_id for t in turns}) == 3
    assert len({t.event_id for t in turns}) == 6


def test_derived_ids_are_the_same_when_read_again_and_follow_a_growing_conversation() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]
    short, _ = read(OpenAILines(), lines({"conversation_id": "c", "messages": talk}))
    longer, _ = read(
        OpenAILines(), lines({"conversation_id": "c", "messages": [*talk, {"role": "user", "content": "Hi"}]})
    )
    assert [t.event_id for t in longer[:2]] == [t.event_id for t in short]
    assert longer[2].event_id not in {t.event_id for t in short}


def test_equal_lines_without_ids_or_times_are_two_turns() -> None:
    record = {"conversation_id": "c", "role": "user", "content": "go on"}
    turns, _ = read(OpenAILines(), lines(record, record))
    assert turns[0].event_id != turns[1].event_id


def test_bad_records_are_named_and_the_rest_goes_through() -> None:
    good = {"conversation_id": "c", "event_id": "e", "role": "user", "content": "Hi"}
    data = lines(
        good,
        {**good, "role": "wizard"},
        {"role": "user", "content": "no conversation"},
        ["list"],
        {"hello": 1},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "user", "content": 5}, 7]},
        {"messages": "none"},
    )
    data += b'{"cut": \n\xff\xfe\n\n' + lines(good)
    turns, bad = read(OpenAILines(), data)
    assert len(turns) == 3
    assert [line.split(": ")[0] for line in bad] == [
        "log, line 2",
        "log, line 3",
        "log, line 4",
        "log, line 5",
        "log, line 6, turns[1]",
        "log, line 6, turns[2]",
        "log, line 7",
        "log, line 8",
        "log, line 9",
    ]
    assert "role" in bad[0]
    assert "conversation_id" in bad[1] or "event_id" in bad[1]
    assert "content" in bad[4]
    assert "not JSON" in bad[7]
    assert "not UTF-8" in bad[8]


def test_a_gigantic_line_is_one_record_and_never_held() -> None:
    data = b'{"a": 1}\n' + b"x" * 1_000 + b"\nnext\n"
    found = list(bounded_lines(io.BytesIO(data), limit=100))
    assert [(line.number, line.offset, line.size, line.too_long) for line in found] == [
        (1, 0, 8, False),
        (2, 9, 1_000, True),
        (3, 1_010, 4, False),
    ]
    assert len(found[1].content) == 100


@pytest.mark.parametrize(
    ("document", "conversations"),
    [
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], 1),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, 1),
        (
            [
                {"messages": [{"role": "user", "content": "a"}]},
                {"messages": [{"role": "user", "content": "a"}]},
            ],
            2,
        ),
    ],
)
def test_one_document(document: Any, conversations: int) -> None:
    data = json.dumps(document, indent=1).encode()
    assert isinstance(detect_format(data), OpenAIDocument)
    turns, bad = read(OpenAIDocument(), data)
    assert (len(turns), len({t.conversation_id for t in turns}), bad) == (2, conversations, [])


def test_tau_bench() -> None:
    run = {
        "task_id": 0,
        "trial": 1,
        "traj": [
            {"role": "system", "content": "Rules."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "ok", "tool_call_id": "x1", "name": "run"},
            {"role": "sage", "content": "?"},
        ],
    }
    data = json.dumps([run, run | {"trial": 2}, {"task_id": 3}]).encode()
    assert isinstance(detect_format(data), TauBench)
    turns, bad = read(TauBench(), data)
    assert len(turns) == 8
    assert len({t.conversation_id for t in turns}) == 2
    assert [line.split(": ")[0] for line in bad] == [
        "log, run 0, turns[4]",
        "log, run 1, turns[4]",
        "log, run 2",
    ]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'{"conversation_id": "c", "role": "user"}\n', "openai-lines"),
        (b'\n\xef\xbb\xbf{"messages": []}\n', "openai-lines"),
        (b'{\n "messages": [\n', "openai-document"),
        (b'[ {"task_id": 0, "traj"', "tau-bench"),
        (b"hello", None),
        (b'{"role": \0}', None),
        (b"", None),
    ],
)
def test_detect(head: bytes, name: str | None) -> None:
    found = detect_format(head)
    assert (found.name if found else None) == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "turns", "role", "content", "traj", "task_id", "conversation_id", "x"]
            ),
            inner | st.sampled_from(["user", "assistant", "\ud800"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values, st.sampled_from(FORMATS))
def test_no_json_makes_a_reader_fail(value: Any, form: Format) -> None:
    read(form, json.dumps(value).encode())


@given(st.binary(max_size=200), st.sampled_from(FORMATS))
def test_no_bytes_make_a_reader_fail(data: bytes, form: Format) -> None:
    detect_format(data)
    read(form, data)
