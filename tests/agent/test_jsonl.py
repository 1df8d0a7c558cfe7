"""The tail of JSONL logs: every line once, whatever happens to the file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from agent.formats.base import Line
from agent.sources import jsonl
from agent.sources.jsonl import JsonlTail, matching, read_chunk
from store.offsets import Offset

WAIT_S = 20.0


class Reader:
    """Follows files as the loop does, with the places in memory."""

    def __init__(self) -> None:
        self.places: dict[Path, Offset] = {}
        self.lines: list[Line] = []

    def read(self, path: Path) -> list[bytes]:
        """Return the new whole lines of a file."""
        new: list[bytes] = []
        while self.step(path):
            new += [line.content for line in self.lines[len(self.lines) - self.count :]]
        return new

    def step(self, path: Path) -> bool:
        chunk = read_chunk(path, self.places.get(path))
        if chunk is None:
            return False
        self.places[path] = chunk.place
        self.count = len(chunk.lines)
        self.lines += chunk.lines
        return True


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "agent.jsonl"


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_growing_file_gives_each_line_once(log: Path) -> None:
    reader = Reader()
    assert reader.read(log) == []
    append(log, "one\ntwo\n")
    assert reader.read(log) == [b"one", b"two"]
    assert reader.read(log) == []
    append(log, "three\n")
    assert reader.read(log) == [b"three"]


def test_half_written_line_waits_for_its_end(log: Path) -> None:
    reader = Reader()
    append(log, 'one\n{"a": "\u00fc')
    assert reader.read(log) == [b"one"]
    append(log, '"}')
    assert reader.read(log) == []
    append(log, "\r\n")
    assert reader.read(log) == ['{"a": "\u00fc"}\r'.encode()]


def test_restart_goes_on_at_the_kept_place(log: Path) -> None:
    before = Reader()
    append(log, "one\n")
    before.read(log)
    append(log, "two\n")
    after = Reader()
    after.places = dict(before.places)
    assert after.read(log) == [b"two"]


def test_truncated_file_is_read_from_its_start(log: Path) -> None:
    reader = Reader()
    append(log, "one\ntwo\n")
    reader.read(log)
    log.write_text("new\n")
    assert reader.read(log) == [b"new"]


def test_file_rewritten_in_place_is_read_from_its_start(log: Path) -> None:
    reader = Reader()
    append(log, "one\ntwo\n")
    reader.read(log)
    log.write_text("a much longer first line\nsecond\n")
    assert reader.read(log) == [b"a much longer first line", b"second"]


def test_rotated_file_is_read_to_its_end_first(log: Path) -> None:
    reader = Reader()
    append(log, "one\n")
    reader.read(log)
    append(log, "two\nhalf")
    log.rename(log.with_suffix(".jsonl.1"))
    assert reader.read(log) == []
    append(log, "new\n")
    assert reader.read(log) == [b"two", b"half", b"new"]
    assert reader.read(log) == []


def test_rotated_and_deleted_file_is_no_obstacle(log: Path, tmp_path: Path) -> None:
    reader = Reader()
    append(log, "one\n")
    reader.read(log)
    fresh = tmp_path / "fresh"
    fresh.write_text("new\n")
    os.replace(fresh, log)
    assert reader.read(log) == [b"new"]


def test_too_long_line_is_cut_and_its_size_told(log: Path) -> None:
    size = jsonl.MAX_LINE + 3_000_000
    log.write_bytes(b"before\n" + b"x" * size + b"\nafter\n")
    reader = Reader()
    reader.read(log)
    before, long, after = reader.lines
    assert (before.content, after.content) == (b"before", b"after")
    assert (long.too_long, long.size, len(long.content)) == (True, size, jsonl.MAX_LINE)
    assert reader.places[log].offset == log.stat().st_size


def test_longest_line_is_whole(log: Path) -> None:
    log.write_bytes(b"x" * jsonl.MAX_LINE + b"\n")
    reader = Reader()
    reader.read(log)
    assert (reader.lines[0].too_long, len(reader.lines[0].content)) == (False, jsonl.MAX_LINE)


def test_large_file_comes_in_chunks_that_say_where_they_begin(log: Path) -> None:
    lines = [f"{number:06d} {'x' * 500}" for number in range(3000)]
    append(log, "".join(line + "\n" for line in lines))
    first = read_chunk(log, None)
    assert first is not None
    assert first.place.offset < log.stat().st_size
    second = read_chunk(log, first.place)
    assert second is not None
    assert (second.begin, second.lines[0].number) == (first.place.offset, 1)
    assert Reader().read(log) == [line.encode() for line in lines]


def test_patterns_find_files_once_and_no_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("x.jsonl", "a/y.jsonl", "a/b/z.jsonl", "a/note.txt"):
        (tmp_path / name).touch()
    patterns = (f"{tmp_path}/**/*.jsonl", f"{tmp_path}/a/*.jsonl", f"{tmp_path}/missing/*.jsonl")
    assert [path.name for path in matching(patterns)] == ["z.jsonl", "y.jsonl", "x.jsonl"]


async def test_tail_wakes_for_new_lines_new_files_and_new_folders(tmp_path: Path) -> None:
    """The poll is an hour away: only the watch can have seen what comes into a known folder."""
    reader = Reader()
    news = asyncio.Event()

    async def take(path: Path) -> bool:
        took = reader.step(path)
        if took:
            news.set()
        return took

    async def next_line() -> bytes:
        async with asyncio.timeout(WAIT_S):
            await news.wait()
        news.clear()
        return reader.lines[-1].content

    append(tmp_path / "a.jsonl", "old\n")
    tail = asyncio.create_task(JsonlTail((f"{tmp_path}/*.jsonl",), 3600, take).run())
    assert await next_line() == b"old"
    await asyncio.sleep(0.3)  # until the watch has begun
    append(tmp_path / "a.jsonl", "new\n")
    assert await next_line() == b"new"
    append(tmp_path / "b.jsonl", "other file\n")
    assert await next_line() == b"other file"
    tail.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tail


async def test_tail_polls_where_nothing_can_be_watched(tmp_path: Path) -> None:
    reader = Reader()
    took = asyncio.Event()

    async def take(path: Path) -> bool:
        if reader.step(path):
            took.set()
            return True
        return False

    late = tmp_path / "late"
    tail = asyncio.create_task(JsonlTail((f"{late}/sub/*.jsonl",), 0.05, take).run())
    await asyncio.sleep(0.2)
    (late / "sub").mkdir(parents=True)
    append(late / "sub" / "a.jsonl", "one\n")
    async with asyncio.timeout(WAIT_S):
        await took.wait()
    assert reader.lines[0].content == b"one"
    tail.cancel()


async def test_unreadable_file_does_not_stop_the_others(tmp_path: Path) -> None:
    took = asyncio.Event()

    async def take(path: Path) -> bool:
        if path.name == "a.jsonl":
            raise PermissionError(13, "Permission denied")
        took.set()
        return False

    for name in ("a.jsonl", "b.jsonl"):
        append(tmp_path / name, "x\n")
    tail = asyncio.create_task(JsonlTail((f"{tmp_path}/*.jsonl",), 0.05, take).run())
    async with asyncio.timeout(WAIT_S):
        await took.wait()
    assert not tail.done()
    tail.cancel()
