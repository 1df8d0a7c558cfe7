"""No input makes an adapter fail: mutated records of every format, and mutated bytes of every real log."""

from __future__ import annotations

import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import NOW, read
from samples import SAMPLES

from agent.formats import FORMATS, Format, Place, detect_record, read_stream

BY_NAME = {form.name: form for form in FORMATS}

_KEYS = ["type", "role", "content", "message", "text", "id", "name", "payload", "parts", "output", "kind"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["user", "assistant", "text", "tool_result", "\ud800", "data: {}", "<a-b>", "x" * 300]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "message",
                    "text",
                    "id",
                    "name",
                    "payload",
                    "parts",
                    "output",
                    "kind",
                    "events",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value as (container, key)."""
    found: list[tuple[Any, Any]] = []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += [(value, key), *nodes(part)]
    return found


def read_all(form: Format, records: list[Any]) -> None:
    """Read records as they come, and once more through the kept state."""
    reader = form.reader()
    for position, record in enumerate(records):
        detect_record(record)
        place = Place("log", position, NOW)
        form.reader(reader.state()).read(copy.deepcopy(record), place)
        reader.read(record, place)
        json.loads(reader.state() or "{}")
    reader.end()


def test_every_format_has_samples_that_it_takes() -> None:
    assert SAMPLES.keys() == BY_NAME.keys()
    for name, records in SAMPLES.items():
        assert detect_record(records[0]) is BY_NAME[name], name
        read_all(BY_NAME[name], copy.deepcopy(records))


@pytest.mark.parametrize("name", SAMPLES)
@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_record_makes_a_reader_fail(name: str, data: st.DataObject) -> None:
    records = copy.deepcopy(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        places = nodes(records)
        container, key = places[data.draw(st.integers(0, len(places) - 1))]
        if isinstance(container, dict) and data.draw(st.booleans()):
            container.pop(key, None)
        elif isinstance(container, dict) or key < len(container):
            container[key] = data.draw(json_values)
    read_all(BY_NAME[name], records)


@settings(deadline=None, max_examples=100)
@given(value=json_values, form=st.sampled_from(FORMATS))
def test_no_json_makes_a_reader_fail(value: Any, form: Format) -> None:
    read_all(form, [value, [value], {"type": value}, {"messages": value}])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reading_fail(data: bytes) -> None:
    read(data)
    read(b'{"messages": [' + data, "log.json")


def test_mutated_real_logs_are_read(agent_logs: Path) -> None:
    chance = random.Random(5)
    for path in sorted(agent_logs.glob("*/*")):
        if path.suffix not in (".jsonl", ".json", ".traj", ".yaml") or path.parent.name == "format_docs":
            continue
        data = bytearray(path.read_bytes()[:150_000])
        for _ in range(40):
            place = chance.randrange(len(data))
            data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        log = read_stream(io.BytesIO(bytes(data)), path.name, NOW)
        pieces = list(log.pieces)
        faults = [
            bad.reason for piece in pieces for bad in piece.rejected if "while it was read" in bad.reason
        ]
        assert faults == [], path.name
