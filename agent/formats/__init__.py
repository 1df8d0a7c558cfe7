"""Log formats: small adapters from the bytes of a log to turns."""

from agent.formats.base import Format, Parsed, bounded_lines
from agent.formats.detect import FORMATS, detect_format
from agent.formats.openai import OpenAIDocument, OpenAILines, parse_line
from agent.formats.tau_bench import TauBench

__all__ = [
    "FORMATS",
    "Format",
    "OpenAIDocument",
    "OpenAILines",
    "Parsed",
    "TauBench",
    "bounded_lines",
    "detect_format",
    "parse_line",
]
