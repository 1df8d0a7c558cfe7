"""`run.py label`: rows `{"id", "messages": [...]}` in, labels out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.bench import Bench, plain_bench
from policies.constraints import Detect
from policies.errors import InputError
from policies.labelling import cases
from policies.parsing import Rejected, decode, parse_turns, rejected


def label_line(
    line: bytes, place: str, now_ms: int, detect: Detect | None, bench: Bench | None = None
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Label one line of JSON; see `label_row`."""
    try:
        row = decode(line)
    except InputError as error:
        return [], [rejected(place, str(error), line)]
    return label_row(row, place, now_ms, detect, bench)


def label_row(
    row: object, place: str, now_ms: int, detect: Detect | None, bench: Bench | None = None
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Return one object per (decision, direction) of a row, and the messages that could not be read.

    `decision` is `<index of the message>#<tool call>`; `direction` is its text, or null where none is known.
    """
    if not isinstance(row, Mapping) or not isinstance(row.get("messages"), list):
        return [], [rejected(place, 'a row is {"id", "messages": [...]}', row)]
    row_id = row.get("id")
    if not isinstance(row_id, str | int) or isinstance(row_id, bool):
        return [], [rejected(place, "id: text or a number is needed", row)]
    fixed = {"conversation_id": "row", "ts": None}
    messages = [
        {**m, **fixed, "event_id": str(n)} if isinstance(m, Mapping) else m
        for n, m in enumerate(row["messages"])
    ]
    turns, bad = parse_turns({"turns": messages}, now_ms, place)
    bench = bench or plain_bench(detect)
    labelled: list[dict[str, Any]] = []
    for case in cases(turns, detect=detect):
        texts = {direction.id: direction.text for direction in case.decision.directions}
        for label in bench.judge(case).labels:
            labelled.append(
                {
                    "id": row_id,
                    "decision": case.decision.id,
                    "direction": texts.get(label.direction_id) if label.direction_id else None,
                    "label": label.verdict,
                    "confidence": label.confidence,
                    "labeller": label.labeller,
                    "evidence": label.evidence,
                }
            )
    return labelled, bad
