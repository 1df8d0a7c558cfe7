"""Tell whether a file still holds what was read of it: it may have been truncated and written anew."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

_HEAD = 1024
_LAST = 256


_LINES = "lines:"
_DOCUMENT = "document:"


def of_lines(stream: BinaryIO, offset: int) -> str:
    """Return a hash of the first and the last of the bytes before `offset`."""
    stream.seek(0)
    head = stream.read(min(offset, _HEAD))
    stream.seek(max(0, offset - _LAST))
    last = stream.read(min(offset, _LAST))
    return _LINES + _hash(head + b"\0" + last)


def of_document(content: bytes) -> str:
    """Return a hash of everything: a document may change anywhere."""
    return _DOCUMENT + _hash(content)


def is_document(fingerprint: str) -> bool:
    """Say whether a fingerprint is that of a document."""
    return fingerprint.startswith(_DOCUMENT)


def holds(stream: BinaryIO, size: int, offset: int, fingerprint: str) -> bool:
    """Say whether a file still holds the lines that were read of it; True where none were."""
    if not fingerprint.startswith(_LINES):
        return True
    return size >= offset and of_lines(stream, offset) == fingerprint


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()
