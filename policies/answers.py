"""What an answer said, as a short digest: by it an answer of the server is found again as a turn in a log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

ANSWER_LOG = "answers.jsonl"
"""File in which a server records its answers, one line each."""
OLDER_ANSWER_LOG = "answers.1.jsonl"
"""The one before, moved aside when it was full."""
_BYTES = 16


def answer_digest(content: str | None, tool_calls: Iterable[tuple[str, str]] = ()) -> str:
    """Return a digest of text and tool calls (name, arguments as JSON text).

    White space around the text and inside the JSON, which logs change, makes no difference.
    """
    calls = [[name, _canonical(arguments)] for name, arguments in tool_calls]
    said = json.dumps([(content or "").strip(), calls], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=_BYTES).hexdigest()


def _canonical(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments.strip()
