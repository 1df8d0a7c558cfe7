"""A log of which each line is a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agent.formats.base import Format
from agent.formats.log_file import read_line
from agent.sources.fingerprint import of_lines
from agent.sources.lines import CHUNK, has_newline, read_lines
from agent.sources.piece import Piece, add_up
from store.clock import now_ms
from store.offsets import Offset


class LineLog:
    """Reads whole lines behind a place; the reader of the format goes on from its kept state."""

    def __init__(self, form: Format, state: str) -> None:
        self._format = form
        self._reader = form.reader(state)
        self._searched = 0

    def read(self, stream: BinaryIO, size: int, offset: Offset, *, ended: bool) -> Iterator[Piece]:
        """Yield the next whole lines, if there are any; `ended`: the last one counts as whole."""
        begin = offset.offset
        if size <= begin or not (ended or self._worth_reading(stream, size, begin)):
            return
        lines, end = read_lines(stream, begin, ended=ended)
        if not lines:
            return
        place = f"{Path(offset.path).name}, from byte {begin}"
        parsed = [read_line(self._reader, line, place, now_ms()) for line in lines]
        counts = Counter({"log_lines_too_long": sum(line.too_long for line in lines)})
        behind = offset._replace(
            offset=end,
            fingerprint=of_lines(stream, end),
            format=self._format.name,
            state=self._reader.state(),
        )
        yield add_up(behind, parsed, counts)

    def end(self, offset: Offset, *, for_good: bool) -> Iterator[Piece]:
        """Yield the turn that the format holds for more of it, if there is one.

        Not `for_good`: should there be more of it after all, it comes again, and is known by its id.
        """
        state = self._reader.state()
        parsed = (self._reader if for_good else self._format.reader(state)).end()
        piece = add_up(offset._replace(state=self._reader.state()), [parsed], Counter())
        if piece.turns or piece.rejected:
            yield piece

    def _worth_reading(self, stream: BinaryIO, size: int, begin: int) -> bool:
        """Say whether a long half-written line may have ended: it is not read again each time it grows."""
        if size - begin <= CHUNK:
            return True
        stream.seek(size - 1)
        if stream.read(1) in b"}\n" or has_newline(stream, max(begin, self._searched)):
            return True
        self._searched = size
        return False
