"""Bad input is counted, kept and named; the good records beside it go through."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from logs import NOW, lines, read, reasons, said

from agent.formats import base, bounded_lines, read_stream
from agent.formats.base import MAX_DOCUMENT, MAX_LINE, total
from agent.formats.containers import UTF_16
from agent.formats.turns import CLOCK_BACK, NO_TIME


def turn(content: str, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": content}
    return {"type": "user", "uuid": content, "sessionId": "s", "message": message, **more}


GOOD = lines(turn("Hi"))


@pytest.mark.parametrize(
    "broken",
    [
        GOOD[: len(GOOD) // 2] + b"\n",
        b"\xff\xfe\x00\x01\x80binary\n",
        "{'naïve': 'café'}\n".encode("latin-1"),
        b'{"type": "user", "message": {"role": "user", "content": "caf\xe9"}}\n',
        b"[" * 100_000 + b"\n",
        b'{"a": NaN}\n',
        b'{"a": 1}{"b": 2}\n',
    ],
    ids=["cut", "binary", "python", "latin-1", "nested", "nan", "two values"],
)
def test_a_broken_line_is_one_dead_letter_wherever_it_stands(broken: bytes) -> None:
    for data in (broken + GOOD, GOOD + broken, GOOD + broken + lines(turn("Ho"))):
        form, parsed = read(data)
        assert form == "claude-code"
        assert len(parsed.rejected) == 1
        assert parsed.rejected[0].place.startswith("log.jsonl, line ")
        assert [content for _, content in said(parsed)] == (["Hi", "Ho"] if b"Ho" in data else ["Hi"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marked_and_wide_encodings_are_read(encoding: str) -> None:
    text = json.dumps(turn("Grüße, 世界"), ensure_ascii=False) + "\n" + json.dumps(turn("Hi")) + "\n"
    form, parsed = read(text.encode(encoding))
    assert (form, said(parsed), parsed.rejected) == (
        "claude-code", [("user", "Grüße, 世界"), ("user", "Hi")], (),
    )  # fmt: skip
    assert [remark.kind for remark in parsed.remarks] == ([UTF_16] if "16" in encoding else [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x02\x01\x01\x00\x00\x00" * 99, "a binary file"),
        (b"just some text\nand more\n", "no known log format"),
        (b'{"cut": [1, 2', "no known log format"),
        (b"", None),
        (b" \n\n \n", None),
    ],
    ids=["binary", "text", "cut document", "empty", "blank"],
)
def test_a_file_of_no_known_kind_is_one_dead_letter(data: bytes, reason: str | None) -> None:
    for name in ("log.jsonl", "log.json"):
        form, parsed = read(data, name)
        assert (form, parsed.turns, len(parsed.rejected)) == (None, (), int(reason is not None))
        assert reason is None or reason in parsed.rejected[0].reason


def test_records_of_a_kind_never_seen_are_named_by_kind() -> None:
    _, parsed = read(lines({"type": "beam"}, {"type": "beam"}, {"event": "ping"}, {"a": 1, "b": 2}, [1]))
    assert [bad.reason for bad in parsed.rejected] == [
        "not understood: record type 'beam'",
        "not understood: record type 'beam'",
        "not understood: record type 'ping'",
        "not understood: record type '{a, b}'",
        "not understood: record type 'list'",
    ]


class Endless(io.RawIOBase):
    """A file with good lines around a line of `size` bytes, which is nowhere in memory."""

    def __init__(self, size: int) -> None:
        self._parts = (GOOD, size, b"\n" + GOOD.replace(b"Hi", b"Ho"))
        self._ends = [len(GOOD), len(GOOD) + size, len(GOOD) + size + len(self._parts[2])]
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        room, begin = len(buffer), 0
        for part, end in zip(self._parts, self._ends, strict=True):
            if self._place < end:
                count = min(room, end - self._place)
                start = self._place - begin
                content = b"x" * count if isinstance(part, int) else part[start : start + count]
                buffer[: len(content)] = content
                self._place += len(content)
                return len(content)
            begin = end
        return 0


def test_a_line_of_100_megabytes_is_one_dead_letter_in_bounded_memory() -> None:
    size = 100_000_000
    tracemalloc.start()
    try:
        log = read_stream(io.BufferedReader(Endless(size)), "log.jsonl", NOW)
        parsed = total(log.pieces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said(parsed) == [("user", "Hi"), ("user", "Ho")]
    assert [(bad.place, bad.size) for bad in parsed.rejected] == [("log.jsonl, line 2", size)]
    assert f"at most {MAX_LINE} are read" in parsed.rejected[0].reason
    assert len(parsed.rejected[0].payload) <= 65_536
    assert peak < 4 * MAX_LINE


def test_a_gigantic_line_is_counted_and_its_neighbours_are_found() -> None:
    data = b'{"a": 1}\n' + b"x" * 1_000 + b"\nnext\n"
    found = list(bounded_lines(io.BytesIO(data), limit=100))
    assert [(line.number, line.offset, line.size, line.too_long) for line in found] == [
        (1, 0, 8, False),
        (2, 9, 1_000, True),
        (3, 1_010, 4, False),
    ]
    assert len(found[1].content) == 100


def test_a_document_beyond_the_limit_is_one_dead_letter_that_says_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    path.write_bytes(b"[\n" + (b" " * 1_048_575 + b"\n") * (MAX_DOCUMENT // 1_048_576) + b'{"role": 1}]')
    with path.open("rb") as stream:
        log = read_stream(stream, str(path), NOW)
        parsed = total(log.pieces)
    assert (log.format, parsed.turns, len(parsed.rejected)) == (None, (), 1)
    assert f"larger than {base.MAX_DOCUMENT >> 20} MiB" in parsed.rejected[0].reason


def test_a_clock_that_goes_back_and_times_that_are_none_are_named_and_kept() -> None:
    times = ["2026-01-01T10:00:00Z", "2026-01-01T09:00:00Z", "yesterday", "9999-01-01T00:00:00Z", None]
    _, parsed = read(lines(*(turn(str(n), timestamp=when) for n, when in enumerate(times))))
    assert [content for _, content in said(parsed)] == ["0", "1", "2", "3", "4"]
    assert [(r.place, r.kind) for r in parsed.remarks] == [
        ("log.jsonl, line 2", CLOCK_BACK),
        ("log.jsonl, line 3", NO_TIME),
        ("log.jsonl, line 4", NO_TIME),
    ]
    nine = parsed.turns[1].ts
    assert [t.ts - nine for t in parsed.turns] == [3_600_000, 0, 0, 0, 0]


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    data = GOOD.replace(b"Hi", b"cut \\ud83d")
    assert said(read(data)[1]) == [("user", "cut \ufffd")]


def test_a_message_that_is_too_long_to_be_a_turn_is_a_dead_letter() -> None:
    _, parsed = read(lines(turn("x" * 1_000_001), turn("Hi")))
    assert said(parsed) == [("user", "Hi")]
    assert "at most 1000000" in reasons(parsed)[0]


def test_records_of_one_id_with_other_content_are_all_kept() -> None:
    _, parsed = read(lines(turn("A", uuid="same"), turn("B", uuid="same"), turn("B", uuid="same")))
    assert [content for _, content in said(parsed)] == ["A", "B", "B"]
    assert len({one.event_id for one in parsed.turns}) == 2
