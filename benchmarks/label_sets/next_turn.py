"""Labelled next turns, from whatever set, as cases of the product."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.decision import DecisionPoint
from policies.labelling import Case
from policies.turn import Role, Turn


@dataclass(frozen=True)
class NextTurn:
    """One case with the truth on it. Rows of one `group` (a session, a dialogue) are never on both sides of
    a split; `kind` is what the set says of the row beside the label.
    """

    case: Case
    ignored: bool
    group: str
    kind: str = ""


def as_case(asked: Sequence[str], answer: str, reaction: str) -> Case:
    """Return the case of an answer to what was asked (user turns, oldest first), with the next user turn."""
    said: list[tuple[Role, str]] = [("user", text) for text in asked if text.strip()]
    said += [("assistant", answer), ("user", reaction)]
    turns = [
        Turn(event_id=f"e{number}", conversation_id="row", role=role, content=content, ts=0)
        for number, (role, content) in enumerate(said)
    ]
    decision = DecisionPoint(
        conversation_id="row", turn=turns[-2], call_index=0, context=tuple(turns[:-2]), directions=()
    )
    return Case(decision, (turns[-1],))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def digest(paths: Iterable[Path]) -> str:
    """Return what names the content of files: the first 16 digits of a SHA-256."""
    content = hashlib.sha256()
    for path in paths:
        content.update(path.read_bytes())
    return content.hexdigest()[:16]
