"""Records on disk until they are delivered, in order: what an agent says while the broker is away.

Append-only files of lines in one folder, each locked by the process that writes it; what a killed process
left behind is taken over by the next one. An appended record survives the end of its process at once (it is
in the kernel's hands), and a power cut from `sync` on. A record may be delivered again after a kill.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from policies.errors import ConfigError
from store.clock import new_id, now_ms, rfc3339

SEGMENT_BYTES = 1_000_000
SUFFIX = ".spool"
DROPPED = "dropped.jsonl"


class Record(NamedTuple):
    """One record that waits, and the file it stands in."""

    segment: _Segment
    content: bytes


class Spool:
    """A bounded queue on disk. `append` is for any thread, `take` and `done` for the one that delivers.

    Beyond `max_bytes` the oldest file of records goes first; what was dropped is a line in `dropped.jsonl`.
    With `keeps_all` nothing goes: a record for which there is no room is refused.
    """

    def __init__(self, folder: Path, max_bytes: int, *, keeps_all: bool = False) -> None:
        self.dropped = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._keeps_all = keeps_all
        self._lock = threading.Lock()
        self._unsynced: set[_Segment] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._segments = deque(_left_behind(folder))
            self._segments.append(_Segment(folder / f"{new_id()}{SUFFIX}"))
        except OSError as error:
            raise ConfigError(
                f"the spool folder {folder} cannot be used ({error.strerror}): name another one"
            ) from error

    @property
    def waiting(self) -> int:
        """Return how many records are not delivered."""
        with self._lock:
            return sum(segment.count - segment.delivered for segment in self._segments)

    def append(self, content: bytes) -> None:
        """Add a record of one line. Raises OSError where the disk, or a spool that keeps all, is full."""
        with self._lock:
            if self._keeps_all and self._bytes() + len(content) > self._max_bytes:
                raise OSError(errno.ENOSPC, f"at most {self._max_bytes} bytes may wait", str(self._folder))
            last = self._segments[-1]
            if last.size + len(content) > SEGMENT_BYTES and last.count:
                last = _Segment(self._folder / f"{new_id()}{SUFFIX}")
                self._segments.append(last)
            last.append(content)
            self._unsynced.add(last)
            self._keep_bound()

    def take(self) -> Record | None:
        """Return the next record that was not taken yet, None when there is none."""
        with self._lock:
            segment = next((one for one in self._segments if one.taken < one.count), None)
            return None if segment is None else Record(segment, segment.read())

    def done(self, record: Record) -> None:
        """Forget a record that was delivered; a file goes with its last one."""
        with self._lock:
            segment = record.segment
            segment.delivered += 1
            if segment.delivered < segment.count or segment not in self._segments:
                return
            if segment is self._segments[-1]:
                segment.clear()
            else:
                self._segments.remove(segment)
                segment.remove()

    def sync(self) -> None:
        """Write what was appended to the disk itself, where something still waits there."""
        with self._lock:
            waiting = [segment for segment in self._unsynced if segment in self._segments and segment.count]
            descriptors = [os.dup(segment.descriptor) for segment in waiting]
            self._unsynced.clear()
        for descriptor in descriptors:  # without the lock: a slow disk must not hold up the agent
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Let go of the files; those that hold nothing are removed."""
        with self._lock:
            for segment in self._segments:
                if segment.delivered == segment.count:
                    segment.remove()
                else:
                    os.close(segment.descriptor)
            self._segments.clear()

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _keep_bound(self) -> None:
        while not self._keeps_all and len(self._segments) > 1 and self._bytes() > self._max_bytes:
            oldest = self._segments.popleft()
            lost = oldest.count - oldest.delivered
            self.dropped += lost
            said = {"ts": rfc3339(now_ms()), "records": lost, "bytes": oldest.size, "file": oldest.path.name}
            oldest.remove()
            with (self._folder / DROPPED).open("a", encoding="utf-8") as account:
                account.write(json.dumps(said) + "\n")


class _Segment:
    """One file of records, locked by this process. Raises BlockingIOError where another one has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.descriptor)
            raise
        content = path.read_bytes()
        self.size = content.rfind(b"\n") + 1
        os.ftruncate(self.descriptor, self.size)  # the half record of a process that was killed
        self.count = content.count(b"\n")
        self.taken = 0
        self.delivered = 0
        self._read_to = 0

    def append(self, content: bytes) -> None:
        written = os.write(self.descriptor, content + b"\n")
        if written < len(content) + 1:
            os.ftruncate(self.descriptor, self.size)
            raise OSError("the disk is full")
        self.size += written
        self.count += 1

    def read(self) -> bytes:
        parts: list[bytes] = []
        while not parts or b"\n" not in parts[-1]:
            parts.append(os.pread(self.descriptor, 65_536, self._read_to + sum(map(len, parts))))
        line = b"".join(parts).partition(b"\n")[0]
        self._read_to += len(line) + 1
        self.taken += 1
        return line

    def clear(self) -> None:
        os.ftruncate(self.descriptor, 0)
        self.size = self.count = self.taken = self.delivered = self._read_to = 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def _left_behind(folder: Path) -> Iterator[_Segment]:
    """Yield the files of processes that have ended, oldest first."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            segment = _Segment(path)
        except BlockingIOError:  # its process lives
            continue
        if segment.count:
            yield segment
        else:
            segment.remove()
