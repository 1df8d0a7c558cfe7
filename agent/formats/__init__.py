"""Log formats: small adapters from the records of a log to turns. The interface is in `base`."""

from agent.formats.base import Format, Line, Parsed, Place, Reader, Remark, bounded_lines
from agent.formats.detect import FORMATS, detect_record
from agent.formats.log_file import Log, detect_format, read_line, read_record, read_stream
from agent.formats.openai import OpenAIMessages

__all__ = [
    "FORMATS",
    "Format",
    "Line",
    "Log",
    "OpenAIMessages",
    "Parsed",
    "Place",
    "Reader",
    "Remark",
    "bounded_lines",
    "detect_format",
    "detect_record",
    "read_line",
    "read_record",
    "read_stream",
]
