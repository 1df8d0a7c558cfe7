"""What the write-ahead log itself says of lost commits, before SQLite opens it and forgets.

SQLite takes a log up to the last commit whose checksums hold, and is silent about the rest: to it a log that
was cut is a shorter one. The index beside it (`-shm`) says how many frames were committed, and is still there
after a kill. With synchronous = FULL a frame is on disk before the index counts it: an index of the same log
(their salts agree) that counts more frames than hold means that the log was cut.

What a checkpoint has copied into the database (`backfilled`) is safe there. A log that was cut before that
place must not be read at all: it would put old pages over new ones.

Formats: https://www.sqlite.org/walformat.html, "WAL File Format" and "WAL-Index Header".
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import NamedTuple

_HEADER = 32
_FRAME_HEADER = 24
_MAGIC = (0x377F0682, 0x377F0683)
_INDEX_BYTES = 136
_SETTLING_S = 0.05


class LogReport(NamedTuple):
    """Frames that hold, up to the last commit; how many the index counts (None: it is of another log); how
    many of those the database has; bytes of a commit that was never finished.
    """

    frames: int
    counted: int | None
    backfilled: int
    torn: int

    @property
    def cut(self) -> bool:
        """Say whether committed frames are missing from the log."""
        return self.counted is not None and self.frames < self.counted

    @property
    def lost(self) -> int:
        """Return how many committed frames are gone for good."""
        return 0 if self.counted is None else max(0, self.counted - max(self.frames, self.backfilled))

    @property
    def misleads(self) -> bool:
        """Say whether the log would put older pages over those that the database has."""
        return self.cut and self.frames < self.backfilled


class _Index(NamedTuple):
    frames: int
    backfilled: int
    salts: bytes


def examine_log(database: Path) -> LogReport | None:
    """Read log and index; None where neither says anything, or this process has the database open.

    A cut log is looked at twice: somebody may be writing.
    """
    if _is_open_here(database):
        return None
    report = _look(database)
    if report is not None and report.cut:
        time.sleep(_SETTLING_S)
        return _look(database)
    return report


def set_aside(database: Path) -> None:
    """Move a log that misleads, and its index, out of SQLite's sight. Nobody may have the database open."""
    for end in ("-wal", "-shm"):
        path = _beside(database, end)
        if path.exists():
            path.replace(path.with_name(f"{path.name}.cut"))


def log_is_short(database: Path) -> bool:
    """Say whether the log has room for fewer frames than were committed to it: the cheap part of a look."""
    if _is_open_here(database):
        return False
    for _ in range(2):
        index, log = _index(database), _beside(database, "-wal")
        start = _read(log, _HEADER)
        if index is None or (len(start) == _HEADER and start[16:24] != index.salts):
            return False
        page = struct.unpack(">I", start[8:12])[0] if len(start) == _HEADER else 1
        room = (log_bytes(database) - _HEADER) // (_FRAME_HEADER + (65_536 if page == 1 else page))
        if max(0, room) >= index.frames or (len(start) < _HEADER and index.backfilled >= index.frames):
            return False
        time.sleep(_SETTLING_S)
    return True


def log_bytes(database: Path) -> int:
    """Return the size of the log, 0 where there is none."""
    try:
        return _beside(database, "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _look(database: Path) -> LogReport | None:
    index = _index(database)  # before the log, which only grows
    log = _read(_beside(database, "-wal"))
    if len(log) < _HEADER:
        missing = index is not None and index.backfilled < index.frames
        return LogReport(0, index.frames, index.backfilled, len(log)) if index and missing else None
    frames, torn = _sound_frames(log)
    if index is None or index.salts != log[16:24]:
        return LogReport(frames, None, 0, torn)
    return LogReport(frames, index.frames, index.backfilled, torn)


def _is_open_here(database: Path) -> bool:
    """Say whether this process maps the index: to open and close it then would drop SQLite's own locks on it
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    return str(_beside(database, "-shm")) in Path("/proc/self/maps").read_text(errors="replace")


def _index(database: Path) -> _Index | None:
    raw = _read(_beside(database, "-shm"), _INDEX_BYTES)
    if len(raw) < _INDEX_BYTES or not raw[12]:  # isInit
        return None
    (frames,), (backfilled,) = struct.unpack("=I", raw[16:20]), struct.unpack("=I", raw[96:100])
    return _Index(frames, backfilled, raw[32:40])


def _sound_frames(log: bytes) -> tuple[int, int]:
    """Return the frames up to the last commit whose chain of checksums holds, and the torn bytes behind."""
    magic, _, page = struct.unpack(">III", log[:12])
    order = ">" if magic & 1 else "<"
    sums = _checksum(log[:24], (0, 0), order)
    if magic not in _MAGIC or sums != struct.unpack(">II", log[24:32]):
        return 0, len(log)
    size = _FRAME_HEADER + (65_536 if page == 1 else page)
    committed = 0
    for number, place in enumerate(range(_HEADER, len(log) - size + 1, size), start=1):
        header = log[place : place + _FRAME_HEADER]
        sums = _checksum(header[:8], sums, order)
        sums = _checksum(log[place + _FRAME_HEADER : place + size], sums, order)
        if header[8:16] != log[16:24] or sums != struct.unpack(">II", header[16:24]):
            break
        if header[4:8] != b"\0\0\0\0":  # the size of the database: this frame commits
            committed = number
    end = _HEADER + committed * size
    behind = log[end : end + _FRAME_HEADER]
    stale = len(behind) == _FRAME_HEADER and behind[8:16] != log[16:24] and (len(log) - end) % size == 0
    return committed, 0 if stale else len(log) - end


def _checksum(data: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = before
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _beside(database: Path, end: str) -> Path:
    return database.with_name(database.name + end)


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        return b""
