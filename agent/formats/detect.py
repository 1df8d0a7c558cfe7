"""Find the format of a log by how it begins."""

from __future__ import annotations

from agent.formats.base import Format
from agent.formats.openai import OpenAIDocument, OpenAILines
from agent.formats.tau_bench import TauBench

HEAD = 65_536
"""Bytes that are looked at."""

FORMATS: tuple[Format, ...] = (TauBench(), OpenAILines(), OpenAIDocument())
"""From the most to the least particular."""


def detect_format(head: bytes) -> Format | None:
    """Return the format of a file that begins so; None for a binary file or one of no known kind."""
    if b"\0" in head:
        return None
    return next((known for known in FORMATS if known.recognises(head)), None)
