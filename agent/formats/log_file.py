"""Read a log of any known kind: from bytes to records, and from records to turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import PurePath
from typing import Any, BinaryIO

from agent.formats.base import MAX_DOCUMENT, Format, Line, Parsed, Place, Reader, Remark, bounded_lines
from agent.formats.containers import as_utf8, decode_container
from agent.formats.detect import detect_record
from agent.formats.turns import kind_of, refuse, unknown
from policies.errors import InputError
from policies.parsing import decode, rejected

_HEAD = 4096
_SAMPLE = 100
_SEARCHED = 10_000
"""Lines among which a record of a known kind must be found."""
_LINE_SUFFIXES = (".jsonl", ".ndjson")
_ADAPTER_FAULTS = (TypeError, ValueError, LookupError, AttributeError, RecursionError, ArithmeticError)
_NOTHING = object()


@dataclass(frozen=True)
class Log:
    """A log that is being read: the name of its format, None where no record is of a known kind."""

    format: str | None
    pieces: Iterator[Parsed]


def read_line(reader: Reader, line: Line, name: str, now_ms: int) -> Parsed:
    """Read one line of JSONL; `name` is that of the file. Blank lines give nothing."""
    place = Place(f"{name}, line {line.number}", line.offset, now_ms)
    if line.too_long:
        reason = f"a line of {line.size} bytes, at most {len(line.content)} are read"
        return Parsed(rejected=(replace(rejected(place.at, reason, line.content), size=line.size),))
    if not line.content.strip():
        return Parsed()
    try:
        record = decode(line.content)
    except InputError as error:
        return refuse(place, str(error), line.content)
    return read_record(reader, record, place)


def read_record(reader: Reader, record: Any, place: Place) -> Parsed:
    """Read one decoded record. An adapter that cannot cope costs one record, never the log."""
    try:
        return reader.read(record, place)
    except _ADAPTER_FAULTS as error:
        return refuse(place, f"not understood: {type(error).__name__} while it was read", record)


def read_stream(stream: BinaryIO, name: str, now_ms: int) -> Log:
    """Read a whole file, which must be seekable: JSON lines, one JSON document, SSE or a VCR cassette.

    `name` is its path: its end is a part of the ids of what has no id in the log.
    """
    path = PurePath(name)
    whole = Place(path.name, 0, now_ms, "/".join(path.parts[-3:]))
    try:
        text, oddity = as_utf8(stream)
    except InputError as error:
        stream.seek(0)
        return Log(None, iter([refuse(whole, str(error), stream.read(_HEAD))]))
    by_lines = path.suffix in _LINE_SUFFIXES
    log = _read_document(text, whole) if _is_one_document(text, by_lines) else _read_lines(text, whole)
    remarks = (Remark(whole.at, oddity),) if oddity else ()
    return Log(log.format, chain([Parsed(remarks=remarks)], log.pieces))


def detect_format(lines: Iterable[bytes]) -> Format | None:
    """Return the format of the first line that is a record of a known kind."""
    for line in lines:
        record = _decoded(line)
        form = None if record is _NOTHING else detect_record(record)
        if form is not None:
            return form
    return None


def _is_one_document(stream: BinaryIO, by_lines: bool) -> bool:
    """Say whether a file is one value: its first line is none by itself, or there is no other line.

    A single line that is a value is a document too, but for an object in a file named as one of lines.
    """
    lines = (line for line in bounded_lines(stream) if line.content.strip())
    first, second = next(lines, None), next(lines, None)
    stream.seek(0)
    if first is None:
        return False
    if first.too_long:
        return second is None and first.size <= MAX_DOCUMENT
    value = _decoded(first.content)
    return value is _NOTHING or (second is None and not (by_lines and isinstance(value, dict)))


def _read_document(stream: BinaryIO, whole: Place) -> Log:
    data = stream.read(MAX_DOCUMENT + 1)
    reason = f"the document is larger than {MAX_DOCUMENT >> 20} MiB: split it, or write it as JSON lines"
    if len(data) <= MAX_DOCUMENT:
        try:
            return _read_value(decode_container(data), whole)
        except InputError as error:
            reason = str(error)
    stream.seek(0)
    if _detect(stream) is not None:  # its beginning is broken, but there are good lines behind it
        return _read_lines(stream, whole)
    stream.seek(0)
    head = stream.read(_HEAD)
    reason = "a binary file" if b"\0" in head else f"no known log format; {reason}"
    return Log(None, iter([refuse(whole, f"not understood: {reason}", head)]))


def _read_value(record: Any, whole: Place) -> Log:
    """Read the value of a document: a record, or a list of records that no format takes as a whole."""
    form = detect_record(record)
    if form is not None:
        return Log(form.name, _records(form.reader(), [(record, whole)]))
    parts = record if isinstance(record, list) and record else [record]
    form = next(filter(None, map(detect_record, parts[:_SAMPLE])), None)
    placed = ((part, whole.part(f"record {number}", number)) for number, part in enumerate(parts))
    return Log(form.name if form else None, _records(form.reader() if form else _UnknownReader(), placed))


def _read_lines(stream: BinaryIO, whole: Place) -> Log:
    stream.seek(0)
    form = _detect(stream)
    stream.seek(0)
    return Log(
        form.name if form else None, _lines(form.reader() if form else _UnknownReader(), stream, whole)
    )


def _lines(reader: Reader, stream: BinaryIO, whole: Place) -> Iterator[Parsed]:
    for line in bounded_lines(stream):
        yield read_line(reader, line, whole.at, whole.now_ms)
    yield reader.end()


def _records(reader: Reader, records: Iterable[tuple[Any, Place]]) -> Iterator[Parsed]:
    for record, place in records:
        yield read_record(reader, record, place)
    yield reader.end()


class _UnknownReader:
    """Names the kind of every record."""

    def read(self, record: Any, place: Place) -> Parsed:
        return unknown(place, kind_of(record), record)

    def end(self) -> Parsed:
        return Parsed()

    def state(self) -> str:
        return ""


def _detect(stream: BinaryIO) -> Format | None:
    lines = islice(bounded_lines(stream), _SEARCHED)
    return detect_format(line.content for line in lines if not line.too_long)


def _decoded(line: bytes) -> Any:
    """Return the JSON value of a line, _NOTHING where it is none."""
    try:
        return decode(line)
    except InputError:
        return _NOTHING
