"""Read records and texts the way a file that holds them is read."""

from __future__ import annotations

import io
import json
from typing import Any

from agent.formats import Line, Parsed, bounded_lines, detect_format, read_line, read_stream
from agent.formats.base import total

NOW = 1_800_000_000_000


def lines(*records: Any) -> bytes:
    """Return records as JSONL."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def read(data: bytes, name: str = "log.jsonl") -> tuple[str | None, Parsed]:
    """Read a whole file: its format and all that it gave."""
    log = read_stream(io.BytesIO(data), name, NOW)
    return log.format, total(log.pieces)


def read_records(*records: Any) -> Parsed:
    """Read records that stand on the lines of one file."""
    return read(lines(*records))[1]


def read_in_pieces(data: bytes) -> Parsed:
    """Read a growing file as a follower that is killed after every line does: with the kept state only."""
    state = ""
    pieces = []
    form = detect_format(data.split(b"\n"))
    assert form is not None
    for line in bounded_lines(io.BytesIO(data)):
        reader = form.reader(state)
        pieces.append(read_line(reader, Line(1, line.offset, line.content, line.size), "log", NOW))
        state = reader.state()
    return total([*pieces, form.reader(state).end()])


def said(parsed: Parsed) -> list[tuple[str, str]]:
    """Return role and content of each turn."""
    return [(turn.role, turn.content) for turn in parsed.turns]


def reasons(parsed: Parsed) -> list[str]:
    """Return place and reason of each rejected record."""
    return [f"{bad.place}: {bad.reason}" for bad in parsed.rejected]
