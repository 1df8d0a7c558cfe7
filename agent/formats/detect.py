"""Find the format of a log by the shape of its records."""

from __future__ import annotations

from typing import Any

from agent.formats.base import Format
from agent.formats.claude_code import ClaudeCode
from agent.formats.codex import Codex
from agent.formats.gemini import Gemini
from agent.formats.openai import OpenAIMessages
from agent.formats.openai_http import OpenAIHttp
from agent.formats.openhands import OpenHands
from agent.formats.otel import OpenTelemetry
from agent.formats.pi import Pi
from agent.formats.swe_agent import SweAgent
from agent.formats.tau_bench import TauBench

FORMATS: tuple[Format, ...] = (
    ClaudeCode(),
    Codex(),
    Pi(),
    Gemini(),
    SweAgent(),
    TauBench(),
    OpenTelemetry(),
    OpenHands(),
    OpenAIHttp(),
    OpenAIMessages(),
)
"""From the most to the least particular: the first that accepts a record takes the log."""


def detect_record(record: Any) -> Format | None:
    """Return the format of a decoded record; None where it is of no known kind."""
    return next((known for known in FORMATS if known.accepts(record)), None)
