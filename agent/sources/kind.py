"""Whether the lines of a log are its records, and of which format they are, or the file is one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from agent.formats.base import MAX_LINE
from agent.formats.log_file import detect_format
from agent.sources.document_log import DocumentLog
from agent.sources.line_log import LineLog
from policies.errors import InputError
from policies.parsing import decode

HEAD = 65_536
"""Bytes that are looked at, or the first line where that is longer."""


def open_log(stream: BinaryIO, state: str) -> LineLog | DocumentLog | None:
    """Return what reads a file on from a kept state; None while nothing of a known kind is there."""
    stream.seek(0)
    head = stream.read(HEAD)
    if b"\n" not in head and len(head) == HEAD:
        head += stream.readline(MAX_LINE)
    whole = head[: head.rfind(b"\n") + 1] or head
    lines = [line for line in whole.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    if not lines:
        return None
    if not _are_records(lines) or (len(lines) == 1 and not whole.endswith(b"\n")):
        return DocumentLog()
    form = detect_format(lines)
    return None if form is None else LineLog(form, state)


def _are_records(lines: list[bytes]) -> bool:
    """Say whether lines stand for themselves. A broken first one may have good ones behind it."""
    first = lines[0].strip()
    if b"\0" in first or first.startswith(b"[") or first == b"{":
        return False
    return any(_is_record(line) for line in lines)


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(decode(line), Mapping)
    except InputError:
        return False
