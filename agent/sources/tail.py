"""Follow the log files that fit some patterns, hundreds at once, across restarts of either side.

A change that the system tells of wakes it; every `poll_s` it looks at everything, for what nobody tells. A
file is known by device and inode, so that a renamed one is not read again; one that was renamed out of the
patterns is read to its end.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import structlog
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from agent.sources.followed import FollowedFile
from agent.sources.patterns import Found, find
from agent.sources.piece import Piece
from store.offsets import Identity, Offset

log = structlog.get_logger(__name__)

AT_ONCE = 64
"""Files of which a piece each is read before these are kept."""
_LOOKING_SHARE = 0.2
"""Share of the time that looking at everything may take, however much is told."""


class Tail:
    """Reads every matching file for ever; `keep` puts one piece into the store, with the place behind it.

    `known` are the places reached before.
    """

    def __init__(
        self,
        patterns: tuple[str, ...],
        poll_s: float,
        known: Iterable[Offset],
        keep: Callable[[Piece], Awaitable[None]],
    ) -> None:
        self.patterns = patterns
        self.poll_s = poll_s
        self._keep = keep
        self._files = {one.identity: FollowedFile(Path(one.path), one) for one in known}
        self._told = asyncio.Event()
        self._changed: set[Path] = set()
        self._unreadable: set[Path] = set()
        self._watched: set[Path] = set()
        self._watching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Read what is there, then what changes."""
        async with asyncio.TaskGroup() as group:
            while self.patterns:
                began = time.monotonic()
                self._changed.clear()
                found = await asyncio.to_thread(find, self.patterns)
                self._watch(group, found.folders)
                restless = await asyncio.to_thread(self._sort, found)
                pause = (time.monotonic() - began) / _LOOKING_SHARE
                await self._read(restless)
                await self._follow(began + pause, began + max(pause, self.poll_s))

    async def _follow(self, earliest: float, latest: float) -> None:
        """Read known files as they change until it is time to look at everything; earlier for a new name."""
        while await self._was_told(latest - time.monotonic()):
            changed, self._changed = self._changed, set()
            by_path = {file.path: file for file in self._files.values() if not file.ended}
            await self._read([by_path[path] for path in changed & by_path.keys()])
            if not changed <= by_path.keys():
                latest = min(latest, earliest)

    async def _was_told(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), max(0.0, seconds))
        told = self._told.is_set()
        self._told.clear()
        return told

    def _sort(self, found: Found) -> list[FollowedFile]:
        """Bring names and files together; return the files that may have something to read."""
        present: dict[Identity, tuple[Path, os.stat_result]] = {}
        for path, status in found.files.items():
            present.setdefault((status.st_dev, status.st_ino), (path, status))
        gone = {identity: self._files.pop(identity) for identity in self._files.keys() - present.keys()}
        for identity, path in _names(gone).items():
            rests = gone[identity].ended and gone[identity].rests
            if path.parent in found.folders and not rests:  # else nobody asks for it any more
                self._files[identity] = gone[identity]
                self._files[identity].path, self._files[identity].ended = path, True
        restless = [file for file in self._files.values() if file.ended]
        for identity, (path, status) in present.items():
            file = self._files.setdefault(identity, FollowedFile(path, Offset(*identity, str(path))))
            if not (file.rests and file.is_as_seen(status, path)):
                restless.append(file)
            file.path, file.ended = path, False
        return restless

    async def _read(self, files: Iterable[FollowedFile]) -> None:
        """Read what is there of some files, in turns, so that a long one does not hold up the others."""
        waiting = deque(files)
        while waiting:
            some = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
            for file, piece in await asyncio.to_thread(self._pieces, some):
                await self._keep(piece)
                waiting.append(file)

    def _pieces(self, files: Sequence[FollowedFile]) -> list[tuple[FollowedFile, Piece]]:
        found = []
        for file in files:
            piece = None
            try:
                piece = file.read(time.monotonic())
                self._unreadable.discard(file.path)
            except FileNotFoundError:  # the next look finds out where it is
                continue
            except OSError as error:
                if file.path not in self._unreadable:
                    self._unreadable.add(file.path)
                    said = f"{file.path}: the log cannot be read, trying again: {error.strerror}"
                    piece = Piece(file.offset, counts=Counter({"log_files_unreadable": 1}), alert=said)
            if piece is not None:
                found.append((file, piece))
        return found

    def _watch(self, group: asyncio.TaskGroup, folders: set[Path]) -> None:
        """Be told of what happens in these folders, and in no others."""
        if folders == self._watched and self._watching is not None:
            return
        if self._watching is not None:
            self._watching.cancel()
        self._watched = folders
        self._watching = group.create_task(self._listen(sorted(folders)), name="watch") if folders else None

    async def _listen(self, folders: Sequence[Path]) -> None:
        watching = awatch(*folders, watch_filter=None, recursive=False, debounce=50, step=20)
        try:
            async with aclosing(watching) as changes:
                async for some in changes:
                    self._changed.update(Path(name) for _, name in some)
                    self._told.set()
        except (OSError, WatchfilesRustInternalError) as error:
            log.warning("folders cannot be watched, polling them", folders=len(folders), error=str(error))


def _names(files: dict[Identity, FollowedFile]) -> dict[Identity, Path]:
    """Return the names that files have now in the folders where they were; deleted ones are left out."""
    folders: dict[Path, set[int]] = defaultdict(set)
    for identity, file in files.items():
        folders[file.path.parent].add(identity[1])
    found: dict[Identity, Path] = {}
    for folder, inodes in folders.items():
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.inode() in inodes and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found[status.st_dev, status.st_ino] = Path(entry.path)
    return {identity: path for identity, path in found.items() if identity in files}
