"""Follow JSONL logs that an agent writes anyway: growing, rotated and truncated files, across restarts.

A place is (path, inode, offset) and is kept in the transaction that keeps what was read, so that every line
is taken once. A file that was renamed away is read to its end before the new one under its name is begun.
"""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from agent.formats.base import Line
from store.offsets import Offset

log = structlog.get_logger(__name__)

MAX_LINE = 5_000_000
"""Bytes of one line; a longer one is cut there and not parsed."""
CHUNK = 256 * 1024


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one file, in order, numbered from 1 at byte `begin`, and the place behind them."""

    begin: int
    place: Offset
    lines: tuple[Line, ...]


def read_chunk(path: Path, known: Offset | None) -> Chunk | None:
    """Return the next whole lines behind `known`, None when there are none yet.

    A last line without its newline is left for later, unless its file was rotated away and cannot grow.
    """
    with suppress(FileNotFoundError):
        here = path.stat()
        if known is not None and known.inode != here.st_ino:
            rest = _read_rotated(path, known)
            if rest is not None:
                return rest
            known = None
        start = 0 if known is None or known.offset > here.st_size else known.offset
        return _read(path, path, Offset(str(path), here.st_ino, start), ended=False)
    return None


def matching(patterns: tuple[str, ...]) -> list[Path]:
    """Return the files that fit the glob patterns, oldest name first, each once."""
    found = {
        Path(os.path.abspath(name)) for p in patterns for name in glob.iglob(_absolute(p), recursive=True)
    }
    return sorted(path for path in found if path.is_file())


class JsonlTail:
    """Reads every matching file for ever; `take` stores one chunk and says whether there was one."""

    def __init__(
        self, patterns: tuple[str, ...], poll_s: float, take: Callable[[Path], Awaitable[bool]]
    ) -> None:
        self.patterns = patterns
        self.poll_s = poll_s
        self._take = take
        self._changed = asyncio.Event()
        self._unreadable: set[Path] = set()

    async def run(self) -> None:
        """Read what is there, then wait for a change; look every `poll_s` where no change is ever told."""
        async with asyncio.TaskGroup() as group:
            watching: dict[Path, asyncio.Task[None]] = {}
            while True:
                self._changed.clear()
                files = await asyncio.to_thread(matching, self.patterns)
                for folder in self._folders(files) - watching.keys():
                    watching[folder] = group.create_task(self._watch(folder), name=f"watch {folder}")
                await self._read_all(files)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self.poll_s)

    async def _read_all(self, files: list[Path]) -> None:
        for path in files:
            try:
                while await self._take(path):
                    pass
                self._unreadable.discard(path)
            except OSError as error:
                if path not in self._unreadable:
                    log.warning("log file cannot be read, trying again", path=str(path), error=str(error))
                self._unreadable.add(path)

    async def _watch(self, folder: Path) -> None:
        watching = awatch(folder, watch_filter=None, recursive=False, debounce=50, step=20)
        try:
            async with aclosing(watching) as changes:
                async for _ in changes:
                    self._changed.set()
        except (OSError, WatchfilesRustInternalError) as error:
            log.warning("folder cannot be watched, polling it", folder=str(folder), error=str(error))

    def _folders(self, files: list[Path]) -> set[Path]:
        folders = {_fixed_part(pattern) for pattern in self.patterns} | {path.parent for path in files}
        return {folder for folder in folders if folder.is_dir()}


def _read_rotated(path: Path, known: Offset) -> Chunk | None:
    """Return what is left of the file that used to have this name, as long as something is."""
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.inode() == known.inode and entry.is_file(follow_symlinks=False):
                return _read(Path(entry.path), path, known, ended=True)
    return None


def _read(file: Path, name: Path, place: Offset, *, ended: bool) -> Chunk | None:
    lines: list[Line] = []
    with file.open("rb") as stream:
        begin = place.offset
        if begin and not ended:  # rewritten in place: what we read before ended with a newline
            stream.seek(begin - 1)
            begin = begin if stream.read(1) == b"\n" else 0
        stream.seek(begin)
        end = begin
        for content, size, taken in _lines(stream.read, ended=ended):
            lines.append(Line(len(lines) + 1, end, content, size))
            end += taken
            if end - begin >= CHUNK:
                break
    return Chunk(begin, Offset(str(name), place.inode, end), tuple(lines)) if lines else None


def _lines(read: Callable[[int], bytes], *, ended: bool) -> Iterator[tuple[bytes, int, int]]:
    """Yield (content, true size, bytes taken in the file) of whole lines; a long one is cut at MAX_LINE."""
    pending = b""
    dropped = 0
    while block := read(CHUNK):
        *whole, rest = (pending + block).split(b"\n")
        for line in whole:
            yield line[:MAX_LINE], len(line) + dropped, len(line) + dropped + 1
            dropped = 0
        dropped += max(0, len(rest) - MAX_LINE)
        pending = rest[:MAX_LINE]
    if ended and pending:
        yield pending, len(pending) + dropped, len(pending) + dropped


def _absolute(pattern: str) -> str:
    return os.path.abspath(os.path.expanduser(pattern))


def _fixed_part(pattern: str) -> Path:
    """Return the folder above the first wildcard of a pattern."""
    path = Path(_absolute(pattern)).parent
    while glob.has_magic(str(path)):
        path = path.parent
    return path
