"""Decode what a log file can be besides UTF-8 JSON: UTF-16, server-sent events, a VCR cassette (YAML)."""

from __future__ import annotations

import codecs
import io
import re
from typing import Any, BinaryIO

import yaml

from agent.formats.base import MAX_DOCUMENT
from policies.errors import InputError
from policies.parsing import decode

UTF_16 = "UTF-16, read as such"

_SSE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?::|(?:data|event|id|retry):)")
_CASSETTE = re.compile(rb"^(?:http_)?interactions:", re.MULTILINE)
_MAX_CASSETTE = 8 * 1024 * 1024
"""Bytes of YAML that are decoded; its decoder is slow."""


def as_utf8(stream: BinaryIO) -> tuple[BinaryIO, str]:
    """Return a stream as UTF-8, and what was odd about it. Raises InputError for UTF-16 beyond the limit."""
    head = stream.read(64)
    stream.seek(0)
    encoding = _utf_16(head)
    if encoding is None:
        return stream, ""
    data = stream.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise InputError(f"UTF-16, and larger than {MAX_DOCUMENT >> 20} MiB: convert it to UTF-8")
    return io.BytesIO(data.decode(encoding, "replace").encode("utf-8")), UTF_16


def _utf_16(head: bytes) -> str | None:
    """Recognise the beginning of JSON in UTF-16, with or without its mark."""
    marked = head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    for encoding in ("utf-16",) if marked else ("utf-16-le", "utf-16-be"):
        text = head[: len(head) // 2 * 2].decode(encoding, "replace").lstrip()
        if text.startswith(("{", "[")):
            return encoding
    return None


def decode_container(data: bytes) -> Any:
    """Return the value of a document. Raises InputError.

    JSON gives its value, an SSE stream its text, a cassette its `{"interactions": [...]}`.
    """
    if _SSE.match(data):
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 at byte {error.start}") from error
    if _CASSETTE.search(data[:65_536]):
        return _cassette(data)
    return decode(data)


def _cassette(data: bytes) -> Any:
    if len(data) > _MAX_CASSETTE:
        raise InputError(f"a cassette larger than {_MAX_CASSETTE >> 20} MiB")
    try:
        return yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"not YAML: {str(error).splitlines()[0]}") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Safe, and without aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)
