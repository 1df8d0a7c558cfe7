"""Many followed logs at once: new ones, renamed ones, deleted ones, and restarts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.ingest import Ingest
from agent.sources.patterns import find
from agent.sources.piece import Piece
from agent.sources.tail import Tail
from policies.config import Config
from store import counters, offsets
from store.database import Store

WAIT_S = 30.0


class Following:
    """A tail that keeps what it reads in a real store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ingest = Ingest(store, Config(), None)
        self._news = asyncio.Event()

    async def keep(self, piece: Piece) -> None:
        self.ingest.piece("a", piece)
        self._news.set()

    async def until(self, *event_ids: str) -> None:
        """Wait until exactly these turns are in the store; each once and none twice."""
        async with asyncio.timeout(WAIT_S):
            while set(self.kept) < set(event_ids):
                self._news.clear()
                await self._news.wait()
        assert sorted(self.kept) == sorted(event_ids)

    @property
    def kept(self) -> list[str]:
        return [row[0] for row in self.store.rows("SELECT event_id FROM events ORDER BY seq")]

    @property
    def repeated(self) -> int:
        return counters.read(self.store).get("turns_duplicate", 0)

    @asynccontextmanager
    async def run(self, *patterns: Path, poll_s: float = 0.05) -> AsyncIterator[None]:
        known = offsets.known(self.store)
        tail = Tail(tuple(map(str, patterns)), poll_s, known, self.keep)
        task = asyncio.create_task(tail.run())
        try:
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def following(store: Store) -> Following:
    return Following(store)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def append(path: Path, *event_ids: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        for event_id in event_ids:
            said = {"event_id": event_id, "conversation_id": path.stem, "role": "assistant", "content": "x"}
            file.write(json.dumps(said) + "\n")


async def test_new_lines_new_files_and_new_folders_are_told(following: Following, logs: Path) -> None:
    """The next look is an hour away: only the watch can have seen what comes."""
    append(logs / "a.jsonl", "1")
    async with following.run(logs, poll_s=3600):
        await following.until("1")
        await asyncio.sleep(0.5)  # until the watch has begun
        append(logs / "a.jsonl", "2")
        await following.until("1", "2")
        append(logs / "b.jsonl", "3")
        await following.until("1", "2", "3")
        (logs / "inner").mkdir()
        await asyncio.sleep(1.0)  # until it is watched, too
        append(logs / "inner" / "c.jsonl", "4")
        await following.until("1", "2", "3", "4")


async def test_what_nobody_tells_is_polled(following: Following, logs: Path) -> None:
    late = logs / "late"
    async with following.run(late / "**" / "*.jsonl"):
        (late / "a" / "b").mkdir(parents=True)
        append(late / "a" / "b" / "x.jsonl", "1")
        await following.until("1")


async def test_renamed_file_is_not_read_again(following: Following, logs: Path) -> None:
    append(logs / "a.jsonl", "1")
    async with following.run(logs):
        await following.until("1")
        (logs / "a.jsonl").rename(logs / "b.jsonl")
        append(logs / "b.jsonl", "2")
        await following.until("1", "2")
    (logs / "b.jsonl").rename(logs / "c.jsonl")
    append(logs / "c.jsonl", "3")
    async with following.run(logs):
        await following.until("1", "2", "3")
    assert following.repeated == 0


async def test_rotated_file_is_read_to_its_end(following: Following, logs: Path) -> None:
    log = logs / "a.jsonl"
    append(log, "1")
    async with following.run(logs / "*.jsonl"):
        await following.until("1")
        log.rename(logs / "a.jsonl.1")
        append(logs / "a.jsonl.1", "2")
        append(log, "3")
        await following.until("1", "2", "3")
        append(logs / "a.jsonl.1", "4")  # its writer has not noticed yet
        await following.until("1", "2", "3", "4")
    append(log, "5")
    log.rename(logs / "a.jsonl.2")  # while nobody follows
    append(log, "6")
    async with following.run(logs / "*.jsonl"):
        await following.until("1", "2", "3", "4", "5", "6")
    assert following.repeated == 0


async def test_copied_and_truncated_file_goes_on(following: Following, logs: Path) -> None:
    log = logs / "a.jsonl"
    append(log, "1", "2")
    async with following.run(logs / "*.jsonl"):
        await following.until("1", "2")
        (logs / "a.jsonl.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
        append(log, "3", "4", "5")
        await following.until("1", "2", "3", "4", "5")


async def test_replaced_and_deleted_files_are_no_obstacle(following: Following, logs: Path) -> None:
    log, fresh = logs / "a.jsonl", logs / "fresh"
    append(log, "1")
    async with following.run(logs / "*.jsonl"):
        await following.until("1")
        append(fresh, "2")
        fresh.replace(log)
        await following.until("1", "2")
        log.unlink()
        append(logs / "b.jsonl", "3")
        await following.until("1", "2", "3")


async def test_file_that_is_not_asked_for_any_more_is_left_alone(following: Following, logs: Path) -> None:
    for name in ("a", "b"):
        (logs / name).mkdir()
        append(logs / name / "x.jsonl", f"{name}1")
    async with following.run(logs):
        await following.until("a1", "b1")
    for name in ("a", "b"):
        append(logs / name / "x.jsonl", f"{name}2")
    async with following.run(logs / "a"):
        await following.until("a1", "b1", "a2")
        await asyncio.sleep(0.3)
        assert "b2" not in following.kept


async def test_file_under_two_names_is_read_once(following: Following, logs: Path) -> None:
    append(logs / "a.jsonl", "1")
    os.link(logs / "a.jsonl", logs / "b.jsonl")
    (logs / "c.jsonl").symlink_to(logs / "a.jsonl")
    async with following.run(logs):
        append(logs / "d.jsonl", "2")
        await following.until("1", "2")
        assert following.repeated == 0


async def test_hundreds_of_files_in_as_many_folders_grow_at_once(following: Following, logs: Path) -> None:
    paths = [logs / f"{number % 150:03d}" / f"{number:03d}.jsonl" for number in range(300)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        append(path, f"{path.stem}-0")
    async with following.run(logs, poll_s=1.0):
        for turn in range(1, 4):
            for path in paths:
                append(path, f"{path.stem}-{turn}")
            await asyncio.sleep(0)
        await following.until(*(f"{path.stem}-{turn}" for path in paths for turn in range(4)))
    assert following.repeated == 0


async def test_unreadable_file_is_an_alert_and_does_not_stop_the_others(
    following: Following, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(logs / "a.jsonl", "1")
    append(logs / "b.jsonl", "2")
    opened = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "a.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        async with following.run(logs):
            await following.until("2")
            await asyncio.sleep(0.2)
    async with following.run(logs):
        await following.until("1", "2")
    (said,) = following.store.rows("SELECT payload FROM outbox")
    assert "a.jsonl: the log cannot be read, trying again: Permission denied" in said["payload"]


async def test_no_pattern_is_no_work(following: Following) -> None:
    await Tail((), 1.0, [], following.keep).run()


def test_patterns_are_files_globs_and_folders(tmp_path: Path) -> None:
    for folder in ("a/b", "c", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("x.jsonl", "a/y.json", "a/b/z.jsonl", "a/note.txt", "c/log.jsonl.1", ".hidden/w.jsonl"):
        (tmp_path / name).touch()

    def names(*patterns: str) -> list[str]:
        return [path.name for path in find(tuple(f"{tmp_path}/{one}" for one in patterns)).files]

    assert names("") == ["z.jsonl", "y.json", "x.jsonl"]
    assert names("a/note.txt", "a/*") == ["note.txt", "y.json"]
    assert names("**/*.jsonl", "a/b/*", "missing/*") == ["z.jsonl", "x.jsonl"]
    folders = {tmp_path / part for part in ("", "a", "a/b", "c", "folder.jsonl")}
    assert find((str(tmp_path),)).folders == folders
