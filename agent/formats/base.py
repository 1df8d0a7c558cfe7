"""What a log format is, and reading lines without trusting their length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from policies.errors import InputError
from policies.parsing import Rejected, decode, rejected
from policies.turn import Turn

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one line; a longer one is one rejected record."""

MAX_DOCUMENT = 512 * 1024 * 1024
"""Bytes of a file that has to be read whole."""


@dataclass(frozen=True)
class Parsed:
    """What a piece of a log gave. `noise`: typed or injected, but no turn; `interrupts`: broken-off turns."""

    turns: tuple[Turn, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    noise: int = 0
    interrupts: int = 0


class Format(Protocol):
    """One kind of log file."""

    @property
    def name(self) -> str:
        """Name the format, as reports give it."""
        ...

    def recognises(self, head: bytes) -> bool:
        """Say whether a file that begins so is of this kind."""
        ...

    def read(self, stream: BinaryIO, name: str, now_ms: int) -> Iterator[Parsed]:
        """Yield the file piece by piece; `name` is for messages, `now_ms` for turns without a time."""
        ...


@dataclass(frozen=True)
class Line:
    """One line: number from 1, the byte it starts at, content (cut when too long), and true size."""

    number: int
    offset: int
    content: bytes
    size: int

    @property
    def too_long(self) -> bool:
        """Say whether the content was cut."""
        return self.size > len(self.content)


def bounded_lines(stream: BinaryIO, limit: int = MAX_LINE) -> Iterator[Line]:
    """Yield the lines of a stream, never holding more than `limit` bytes of one. The line end is stripped."""
    number = offset = 0
    while True:
        piece = stream.readline(limit)
        if not piece:
            return
        number += 1
        size = len(piece)
        tail = piece
        while tail and not tail.endswith(b"\n"):
            tail = stream.readline(limit)
            size += len(tail)
        content = piece.rstrip(b"\r\n")
        ends = len(tail or piece) - len((tail or piece).rstrip(b"\r\n"))
        yield Line(number, offset, content, len(content) if size == len(piece) else size - ends)
        offset += size


def read_document(stream: BinaryIO, name: str) -> tuple[Any, Rejected | None]:
    """Decode a stream that is one JSON document; the second is the dead letter when it is none."""
    data = stream.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        reason = f"the document is larger than {MAX_DOCUMENT >> 20} MiB: split it, or write it as JSON lines"
        return None, rejected(name, reason, data)
    try:
        return decode(data), None
    except InputError as error:
        return None, rejected(name, str(error), data)
