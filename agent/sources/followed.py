"""One log file that is followed: growing, truncated, renamed, half-written; by lines, or as one document."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import structlog

from agent.sources.document_log import DocumentLog
from agent.sources.fingerprint import holds, is_document
from agent.sources.kind import HEAD, open_log
from agent.sources.line_log import LineLog
from agent.sources.piece import Piece
from policies.parsing import rejected
from store.offsets import Offset

log = structlog.get_logger(__name__)

SETTLED_S = 5.0
"""Seconds without a change after which half a record is taken for a broken one."""
QUIET_S = 60.0
"""Seconds without a change after which a file is expected to have had a decision point."""
HELD_S = 600.0
"""Seconds without a change after which a turn that its format held for more of it is taken as it is."""
NOT_UNDERSTOOD = "not understood: no known log format"


class FollowedFile:
    """Reads one file from a place on. What `read` gave must be in the store before it is called again.

    `ended` says that the file was renamed away from what is followed: it is read to its end.
    """

    def __init__(self, path: Path, offset: Offset) -> None:
        self.path = path
        self.offset = offset
        self.ended = False
        self.idle = 0.0
        self._changed_at = 0.0
        self._signature: tuple[int, int] | None = None
        self._reading: LineLog | DocumentLog | None = None
        self._waiting: deque[Piece] = deque()
        self._asked_to_end = False

    def is_as_seen(self, status: os.stat_result, path: Path) -> bool:
        """Say whether neither name nor content have changed since the last reading."""
        return path == self.path and self._signature == (status.st_size, status.st_mtime_ns)

    def read(self, now: float) -> Piece | None:
        """Return the next piece, None where there is none now; may block on the disk.

        `now` is in seconds, of a clock that never goes back. Raises OSError for a file that cannot be read.
        """
        if not self._waiting:
            with self.path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if (status.st_dev, status.st_ino) != self.offset.identity:
                    return None  # another file has this name now; the next look finds where this one is
                self._notice((status.st_size, status.st_mtime_ns), now)
                self._waiting.extend(self._pieces(stream, status.st_size))
        if not self._waiting:
            return None
        piece = self._waiting.popleft()
        self.offset = piece.offset
        return piece

    @property
    def _patience(self) -> float:
        return SETTLED_S if self.ended else HELD_S

    @property
    def rests(self) -> bool:
        """Say whether nothing more can come of it before it changes."""
        return self._signature is not None and self.idle > HELD_S and not self._waiting

    def _notice(self, signature: tuple[int, int], now: float) -> None:
        if signature != self._signature:
            self._signature, self._changed_at = signature, now
            self._asked_to_end = False
        self.idle = now - self._changed_at

    def _pieces(self, stream: BinaryIO, size: int) -> Iterator[Piece]:
        """Yield what is to be taken now; what only a quiet file asks for, where there is nothing else."""
        self.offset = self.offset._replace(path=str(self.path))
        if not holds(stream, size, self.offset.offset, self.offset.fingerprint):
            log.info("log file was written anew, it is read from its start", path=str(self.path))
            self.offset, self._reading = Offset(*self.offset.identity, str(self.path)), None
        if not isinstance(self._reading, LineLog):
            self._open(stream, size)
        found: list[Piece] = []
        if isinstance(self._reading, DocumentLog):
            found += self._reading.read(stream, self.offset, settled=self.idle >= SETTLED_S)
        elif self._reading is not None:
            last = self.ended and self.idle >= SETTLED_S
            found += self._reading.read(stream, size, self.offset, ended=last)
        yield from found or self._quiet(stream, size)

    def _open(self, stream: BinaryIO, size: int) -> None:
        """Find out how to read the file. One record alone is a document, and lines once there are more."""
        if self._reading is None and size == self.offset.offset and not is_document(self.offset.fingerprint):
            return  # all of it is in the store
        found = open_log(stream, self.offset.state)
        if isinstance(found, LineLog) and is_document(self.offset.fingerprint):
            self.offset = Offset(*self.offset.identity, str(self.path))
        if self._reading is None or isinstance(found, LineLog):
            self._reading = found

    def _quiet(self, stream: BinaryIO, size: int) -> Iterator[Piece]:
        """Yield what is due when a file has not changed for a while, one thing at a time."""
        offset = self.offset
        if self._reading is None and size and offset.format is None and not offset.alerted:
            if size >= HEAD or self.idle >= SETTLED_S:
                yield self._not_understood(stream, size)
        elif offset.offset and offset.format is None and not offset.alerted:
            yield self._alerted("log_files_not_understood", f"{NOT_UNDERSTOOD}; nothing of it is read")
        elif offset.records and not offset.decisions and not offset.alerted and self.idle >= QUIET_S:
            said = f"{offset.records} records were read as {offset.format}, but not one decision point"
            yield self._alerted("log_files_without_decisions", f"{said}: nothing can be learned from it")
        elif isinstance(self._reading, LineLog) and not self._asked_to_end and self.idle >= self._patience:
            self._asked_to_end = True
            yield from self._reading.end(offset, for_good=self.ended)

    def _not_understood(self, stream: BinaryIO, size: int) -> Piece:
        stream.seek(0)
        letter = replace(rejected(self.path.name, NOT_UNDERSTOOD, stream.read(HEAD)), size=size)
        alerted = self._alerted("log_files_not_understood", f"{NOT_UNDERSTOOD}; nothing of it is read")
        return replace(alerted, rejected=(letter,))

    def _alerted(self, count: str, said: str) -> Piece:
        offset = self.offset._replace(alerted=True)
        return Piece(offset, counts=Counter({count: 1}), alert=f"{self.path}: {said}")
