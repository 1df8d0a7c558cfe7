"""The agent's own log: one turn a line, as an agent writes it anyway. `run.py up` tails it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from policies.turn import Message


def turn_payload(conversation_id: str, message: Message, model: str | None = None) -> dict[str, Any]:
    """Return one turn of contract v1, with a fresh event id and the time of now."""
    payload = {
        "event_id": uuid4().hex,
        "conversation_id": conversation_id,
        "role": message["role"],
        "content": message["content"],
        "ts": datetime.now(UTC).isoformat(),
    }
    return payload if model is None else {**payload, "model": model}


class Journal:
    """An append-only JSONL file of turns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, payloads: list[dict[str, Any]]) -> None:
        """Append turns and hand them to the operating system at once."""
        self._file.writelines(json.dumps(payload, ensure_ascii=False) + "\n" for payload in payloads)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
