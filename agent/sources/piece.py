"""What one step of reading a followed file gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.formats.base import Parsed
from policies.parsing import Rejected
from policies.turn import Turn
from store.offsets import Offset


@dataclass(frozen=True)
class Piece:
    """What to keep, the place behind it, what to count, and what a person should know."""

    offset: Offset
    turns: tuple[Turn, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    alert: str | None = None


def add_up(offset: Offset, parsed: Iterable[Parsed], counts: Counter[str]) -> Piece:
    """Bring together what several records gave; `offset` gets records and decisions counted."""
    turns: list[Turn] = []
    bad: list[Rejected] = []
    for one in parsed:
        turns += one.turns
        bad += one.rejected
        counts["log_noise"] += one.noise
        counts["log_interrupts"] += one.interrupts
        counts["log_remarks"] += len(one.remarks)
    records = len(turns) + len(bad) + counts["log_noise"]
    decisions = sum(turn.role == "assistant" for turn in turns)
    behind = offset._replace(records=offset.records + records, decisions=offset.decisions + decisions)
    return Piece(behind, tuple(turns), tuple(bad), counts)
