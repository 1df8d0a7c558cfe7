"""Whole lines of a file that may be growing, without trusting their length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from agent.formats.base import MAX_LINE, Line
from policies.errors import InputError
from policies.parsing import decode

CHUNK = 256 * 1024
"""Bytes read at a time, and about how many bytes of lines come together."""


def read_lines(stream: BinaryIO, begin: int, *, ended: bool) -> tuple[list[Line], int]:
    """Return about CHUNK bytes of whole lines from byte `begin` on, and where they end.

    A last line without its newline is left for later, unless it is a whole JSON object already or its file
    cannot grow any more (`ended`). Lines are numbered from 1 at `begin`.
    """
    lines: list[Line] = []
    end = begin
    stream.seek(begin)
    for content, size, taken in _lines(stream, ended=ended):
        lines.append(Line(len(lines) + 1, end, content, size))
        end += taken
        if end - begin >= CHUNK:
            break
    return lines, end


def has_newline(stream: BinaryIO, begin: int) -> bool:
    """Say whether a line ends behind byte `begin`."""
    stream.seek(begin)
    while block := stream.read(CHUNK):
        if b"\n" in block:
            return True
    return False


def _lines(stream: BinaryIO, *, ended: bool) -> Iterator[tuple[bytes, int, int]]:
    """Yield (content, true size, bytes taken in the file) of whole lines; a long one is cut at MAX_LINE."""
    line = bytearray()
    size = 0
    while block := stream.read(CHUNK):
        start = 0
        while (stop := block.find(b"\n", start)) >= 0:
            line += block[start : min(stop, start + MAX_LINE - len(line))]
            size += stop - start
            yield bytes(line), size, size + 1
            line.clear()
            size, start = 0, stop + 1
        line += block[start : start + MAX_LINE - len(line)]
        size += len(block) - start
    if size and (ended or _is_whole(line, size)):
        yield bytes(line), size, size


def _is_whole(line: bytearray, size: int) -> bool:
    """Say whether a line without its newline is a JSON object: nothing can be missing of it."""
    if size > len(line) or not line.rstrip().endswith(b"}") or not line.lstrip().startswith(b"{"):
        return False
    try:
        decode(bytes(line))
    except InputError:
        return False
    return True
