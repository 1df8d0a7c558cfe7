"""What a log format is. The interface that whole-file reading and tailing share:

A log is a sequence of *records*, decoded JSON values: the lines of a JSONL file, or the one value of a
document. A `Format` knows records of its kind by their shape and makes a `Reader` for one file. A reader
takes one record after the other and gives what became certain, as `Parsed`: turns, and everything beside
them. It has no I/O and no clock, and the same records give the same turns with the same event ids.

Reading a growing JSONL file (agent/sources):

    form = detect_format(whole_lines)              # None: of no known kind yet
    reader = form.reader(kept_state)               # "" at the beginning of a file
    parsed = read_line(reader, line, name, now_ms) # for each whole line, with its byte offset in the file
    kept_state = reader.state()                    # JSON text, at most some 30 KiB: keep it with the offset

A reader made with the state that another one had goes on exactly where that one stood, so a restart reads
nothing twice; feeding it the file from the beginning gives the same (ids are the same, turns are dropped as
known). Some formats write one message as several records. Its turn is held until the log shows that it is
complete; `end` gives what is held, and is called only for a file that cannot grow any more.

A document (one JSON value, an SSE stream, a VCR cassette) is read again as a whole when it changed:
`read_stream`; turns that were there before have the ids that they had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol

from policies.parsing import Rejected
from policies.turn import Turn

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one line; a longer one is one rejected record and is never held whole."""

_REST = 1024 * 1024
"""Bytes read at a time of the part of a line that is not kept."""

MAX_DOCUMENT = 64 * 1024 * 1024
"""Bytes of a file that is one document; decoded it takes several times as much memory."""


@dataclass(frozen=True)
class Place:
    """Where a record stands.

    `at`: words for messages, as "log.jsonl, line 3". `position`: its byte offset in the file, or its number
    in a document. `now_ms`: the time of turns that have none. `file`: of a document, the end of its path; it
    tells documents apart that carry no id, and stays when they grow.
    """

    at: str
    position: int
    now_ms: int
    file: str = ""

    def part(self, name: str, number: int) -> Place:
        """Return the place of a part of the record, which has this number in it."""
        return replace(self, at=f"{self.at}, {name}", position=number)


@dataclass(frozen=True)
class Remark:
    """Something odd about records that were kept all the same: `kind` is one of few fixed phrases."""

    place: str
    kind: str


@dataclass(frozen=True)
class Parsed:
    """What some records gave.

    `noise`: messages in the user's place, typed or injected, that are no turn (commands, meta, reminders,
    summaries). `interrupts`: turns broken off by the user or the harness. `delegated`: event ids of user
    turns that an agent wrote for its sub-agent. `metadata`: records that are known to carry no conversation.
    A record of an unknown kind is `rejected`, its reason names the kind.
    """

    turns: tuple[Turn, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    noise: int = 0
    interrupts: int = 0
    delegated: tuple[str, ...] = ()
    metadata: int = 0
    remarks: tuple[Remark, ...] = ()

    def __add__(self, other: Parsed) -> Parsed:
        return total((self, other))


def total(pieces: Iterable[Parsed]) -> Parsed:
    """Bring together what many records gave, in time linear in them."""
    kept = list(pieces)
    return Parsed(
        tuple(turn for piece in kept for turn in piece.turns),
        tuple(bad for piece in kept for bad in piece.rejected),
        sum(piece.noise for piece in kept),
        sum(piece.interrupts for piece in kept),
        tuple(event_id for piece in kept for event_id in piece.delegated),
        sum(piece.metadata for piece in kept),
        tuple(remark for piece in kept for remark in piece.remarks),
    )


class Reader(Protocol):
    """Reads the records of one file in their order."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take the next record and return what became certain by it."""
        ...

    def end(self) -> Parsed:
        """Return what is still held; the file cannot grow any more."""
        ...

    def state(self) -> str:
        """Return what a new reader needs to go on from here; "" where nothing is needed."""
        ...


class Format(Protocol):
    """One kind of log."""

    @property
    def name(self) -> str:
        """Name the format, as reports give it."""
        ...

    def accepts(self, record: Any) -> bool:
        """Say whether a decoded record is of this kind, by its shape."""
        ...

    def reader(self, state: str = "") -> Reader:
        """Return a reader of one file: from its beginning, or from where another one had this state."""
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
            tail = stream.readline(min(limit, _REST))
            size += len(tail)
        content = piece.rstrip(b"\r\n")
        ends = len(tail or piece) - len((tail or piece).rstrip(b"\r\n"))
        yield Line(number, offset, content, len(content) if size == len(piece) else size - ends)
        offset += size
