"""tau-bench result files: a JSON list of runs, each with its messages in `traj`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from agent.formats.base import Parsed, read_document
from policies.parsing import derived_event_id, parse_turns, rejected


class TauBench:
    """Historical trajectories as the tau-bench runner writes them."""

    name = "tau-bench"

    def recognises(self, head: bytes) -> bool:
        """Look for a list whose first run carries a task id."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        return start.startswith(b"[") and re.match(rb'\[\s*\{\s*"task_id"\s*:', start) is not None

    def read(self, stream: BinaryIO, name: str, now_ms: int) -> Iterator[Parsed]:
        """Yield each run."""
        runs, bad = read_document(stream, name)
        if bad is not None:
            yield Parsed(rejected=(bad,))
            return
        for number, run in enumerate(runs if isinstance(runs, list) else [runs]):
            yield _run(run, f"{name}, run {number}", now_ms)


def _run(run: Any, place: str, now_ms: int) -> Parsed:
    if not isinstance(run, Mapping) or not isinstance(run.get("traj"), list):
        return Parsed(rejected=(rejected(place, "traj: a list of messages is needed", run),))
    messages = run["traj"]
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode("ascii")).hexdigest()[:12]
    conversation = f"tau-{run.get('task_id')}-{run.get('trial')}-{digest}"
    filled = [_filled(message, conversation, n) for n, message in enumerate(messages)]
    turns, bad = parse_turns({"turns": filled}, now_ms, place)
    return Parsed(tuple(turns), tuple(bad))


def _filled(message: Any, conversation: str, position: int) -> Any:
    if not isinstance(message, Mapping):
        return message
    event_id = derived_event_id(conversation, position, message.get("role"), message.get("content"))
    return {**message, "conversation_id": conversation, "event_id": event_id}
