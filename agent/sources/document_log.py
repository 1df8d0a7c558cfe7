"""A log that is one document: it is read again as a whole when it changed, and only what is new is kept."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from agent.formats.base import MAX_DOCUMENT
from agent.formats.log_file import read_stream
from agent.sources.fingerprint import of_document
from agent.sources.piece import Piece, add_up
from policies.errors import InputError
from policies.parsing import Rejected, decode
from policies.turn import Turn
from store.clock import now_ms
from store.offsets import Offset

MAX_TURNS = 500
"""Turns that come in one piece."""


class DocumentLog:
    """Reads the document; what this process has taken of it already is left out."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def read(self, stream: BinaryIO, offset: Offset, *, settled: bool) -> Iterator[Piece]:
        """Yield what is new. One that is not whole may be half-written, until it has `settled`."""
        stream.seek(0)
        content = stream.read(MAX_DOCUMENT + 1)
        fingerprint = of_document(content)
        if not content.strip() or fingerprint == offset.fingerprint or not (settled or _is_whole(content)):
            return
        log = read_stream(io.BytesIO(content), offset.path, now_ms())
        if log.format is None and not settled:
            return
        read = add_up(offset._replace(records=0, decisions=0), log.pieces, Counter())
        turns = tuple(turn for turn in read.turns if self._is_new(turn))
        bad = tuple(record for record in read.rejected if self._is_new(record))
        for start in range(0, len(turns) - MAX_TURNS, MAX_TURNS):
            yield Piece(offset, turns[start : start + MAX_TURNS])
        rest = turns[max(0, len(turns) - 1) // MAX_TURNS * MAX_TURNS :]
        behind = read.offset._replace(offset=len(content), fingerprint=fingerprint, format=log.format)
        yield Piece(behind, rest, bad, Counter() if offset.offset else read.counts)

    def _is_new(self, record: Turn | Rejected) -> bool:
        mark = hash(
            (record.event_id, record.role, record.content, record.tool_calls)
            if isinstance(record, Turn)
            else (record.reason, record.payload)
        )
        is_new = mark not in self._taken
        self._taken.add(mark)
        return is_new


def _is_whole(content: bytes) -> bool:
    """Say whether nothing is missing at the end: valid JSON, or for other documents a last newline."""
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
        return content.endswith(b"\n")
    try:
        decode(content)
    except InputError:
        return False
    return True
