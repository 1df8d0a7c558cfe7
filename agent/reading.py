"""Read log files into turns, and count what an ingest of them finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agent.formats import OpenAILines, detect_format
from agent.formats.detect import HEAD
from policies.constraints import Detect
from policies.errors import InputError
from policies.label import Verdict
from policies.labelling import (
    ConstraintLabeller,
    CorrectionLabeller,
    Labeller,
    ReactionLabeller,
    cases,
    judge,
)
from policies.parsing import Rejected, rejected
from policies.turn import Turn


@dataclass(frozen=True)
class FileReading:
    """What one file gave. `format` is None where its kind is not known."""

    path: Path
    format: str | None
    turns: tuple[Turn, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    noise: int = 0
    interrupts: int = 0


class LabelCounts(BaseModel):
    """Decision points by their worst verdict."""

    model_config = ConfigDict(frozen=True)

    followed: int = 0
    ignored: int = 0
    unknown: int = 0


class IngestSummary(BaseModel):
    """The object that `ingest --json` prints (DESIGN.md section 6)."""

    model_config = ConfigDict(frozen=True)

    files: int
    turns: int
    user_turns: int
    noise: int
    tool_calls: int
    tool_results: int
    interrupts: int
    decision_points: int
    labels: LabelCounts
    rejected: int


def read_file(path: Path, now_ms: int) -> FileReading:
    """Read one log file; bad records stand in `rejected`. Raises InputError when it cannot be opened."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
            stream.seek(0)
            form = detect_format(head)
            if form is None and (b"\0" in head or path.suffix != ".jsonl") and head.strip():
                reason = "not understood: no known log format (OpenAI messages, tau-bench)"
                return FileReading(path, None, rejected=(rejected(path.name, reason, head),))
            # A .jsonl of which the beginning is broken may still hold good lines.
            pieces = list((form or OpenAILines()).read(stream, path.name, now_ms))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    turns = tuple(turn for piece in pieces for turn in piece.turns)
    return FileReading(
        path=path,
        format=form.name if form else None,
        turns=turns,
        rejected=tuple(bad for piece in pieces for bad in piece.rejected),
        noise=sum(piece.noise for piece in pieces) + sum(_is_blank(turn) for turn in turns),
        interrupts=sum(piece.interrupts for piece in pieces),
    )


def default_labellers(detect: Detect | None) -> tuple[Labeller, ...]:
    """Return the labellers that need no I/O, from the most to the least trusted."""
    return (CorrectionLabeller(detect), ConstraintLabeller(detect), ReactionLabeller(detect))


def summarise(readings: Iterable[FileReading], detect: Detect | None) -> IngestSummary:
    """Segment and label the turns of all files, and count."""
    readings = list(readings)
    turns = [turn for reading in readings for turn in reading.turns]
    labellers = default_labellers(detect)
    verdicts: list[Verdict] = [judge(case, labellers).verdict for case in cases(turns, detect=detect)]
    return IngestSummary(
        files=len(readings),
        turns=len(turns),
        user_turns=sum(turn.role == "user" and not _is_blank(turn) for turn in turns),
        noise=sum(reading.noise for reading in readings),
        tool_calls=sum(len(turn.tool_calls) for turn in turns),
        tool_results=sum(turn.role == "tool" for turn in turns),
        interrupts=sum(reading.interrupts for reading in readings),
        decision_points=len(verdicts),
        labels=LabelCounts(
            followed=verdicts.count("followed"),
            ignored=verdicts.count("ignored"),
            unknown=verdicts.count("unknown"),
        ),
        rejected=sum(len(reading.rejected) for reading in readings),
    )


def _is_blank(turn: Turn) -> bool:
    return turn.role == "user" and not turn.content.strip()
