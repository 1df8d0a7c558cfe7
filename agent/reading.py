"""Read log files into turns, and count what an ingest of them finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agent.formats import Parsed, Remark, read_stream
from agent.formats.base import total
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
from policies.parsing import Rejected
from policies.turn import Turn

NO_CALL = "a tool result whose call is not there"
IN_TWO_FILES = "a session that another file has too"
_NOT_UNDERSTOOD = "not understood"


@dataclass(frozen=True)
class FileReading:
    """What one file gave. `format` is None where its kind is not known; each turn is there once."""

    path: Path
    format: str | None
    size: int = 0
    parsed: Parsed = field(default_factory=Parsed)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Return the turns."""
        return self.parsed.turns

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Return the records that could not be read."""
        return self.parsed.rejected

    @property
    def has_decisions(self) -> bool:
        """Say whether there is anything to learn from."""
        return any(turn.role == "assistant" for turn in self.turns)


class LabelCounts(BaseModel):
    """Decision points by their worst verdict."""

    model_config = ConfigDict(frozen=True)

    followed: int = 0
    ignored: int = 0
    unknown: int = 0


class IngestSummary(BaseModel):
    """The object that `ingest --json` prints.

    `metadata`: records known to carry no conversation. `not_understood`: rejected records of a kind that is
    not known, by kind. `remarks`: what was odd about records that were kept all the same.
    """

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
    metadata: int
    not_understood: dict[str, int]
    remarks: dict[str, int]


def read_file(path: Path, now_ms: int) -> FileReading:
    """Read one log file; bad records stand in `rejected`. Raises InputError when it cannot be opened."""
    try:
        with path.open("rb") as stream:
            log = read_stream(stream, str(path.absolute()), now_ms)
            parsed = total(log.pieces)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    once = _once(parsed.turns)
    remarks = (*parsed.remarks, *_without_call(once, path.name))
    return FileReading(path, log.format, size, replace(parsed, turns=once, remarks=remarks))


def shared_sessions(readings: Iterable[FileReading]) -> Iterator[Remark]:
    """Name each session that stands in several files: their turns are kept as one conversation."""
    first: dict[str, Path] = {}
    for reading in readings:
        for conversation in dict.fromkeys(turn.conversation_id for turn in reading.turns):
            other = first.setdefault(conversation, reading.path)
            if other != reading.path:
                yield Remark(
                    f"{reading.path.name}, session {conversation} (also in {other.name})", IN_TWO_FILES
                )


def default_labellers(detect: Detect | None) -> tuple[Labeller, ...]:
    """Return the labellers that need no I/O, from the most to the least trusted."""
    return (CorrectionLabeller(detect), ConstraintLabeller(detect), ReactionLabeller(detect))


def summarise(readings: Iterable[FileReading], detect: Detect | None) -> IngestSummary:
    """Segment and label the turns of all files, and count."""
    readings = list(readings)
    parsed = total(reading.parsed for reading in readings)
    turns = _once(parsed.turns)
    labellers = default_labellers(detect)
    verdicts: list[Verdict] = [judge(case, labellers).verdict for case in cases(turns, detect=detect)]
    delegated = frozenset(parsed.delegated)
    users = [turn for turn in turns if turn.role == "user" and turn.event_id not in delegated]
    blank = sum(not turn.content.strip() for turn in users)
    not_understood = Counter(
        bad.reason.removeprefix(f"{_NOT_UNDERSTOOD}: ")
        for bad in parsed.rejected
        if bad.reason.startswith(_NOT_UNDERSTOOD)
    )
    remarks = [*parsed.remarks, *shared_sessions(readings)]
    return IngestSummary(
        files=len(readings),
        turns=len(turns),
        user_turns=len(users) - blank,
        noise=parsed.noise + blank,
        tool_calls=sum(len(turn.tool_calls) for turn in turns),
        tool_results=sum(turn.role == "tool" for turn in turns),
        interrupts=parsed.interrupts,
        decision_points=len(verdicts),
        labels=LabelCounts(
            followed=verdicts.count("followed"),
            ignored=verdicts.count("ignored"),
            unknown=verdicts.count("unknown"),
        ),
        rejected=len(parsed.rejected),
        metadata=parsed.metadata,
        not_understood=dict(not_understood.most_common()),
        remarks=dict(Counter(remark.kind for remark in remarks).most_common()),
    )


def _once(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Return each turn once, where it came first: a log may hold the same record twice."""
    first: dict[str, Turn] = {}
    for turn in turns:
        first.setdefault(turn.event_id, turn)
    return tuple(first.values())


def _without_call(turns: Iterable[Turn], name: str) -> Iterator[Remark]:
    """Name the tool results that pair with no call before them."""
    called: dict[str, set[str]] = {}
    for turn in turns:
        known = called.setdefault(turn.conversation_id, set())
        known.update(call.id for call in turn.tool_calls)
        if turn.role == "tool" and turn.tool_call_id is not None and turn.tool_call_id not in known:
            yield Remark(f"{name}, call {turn.tool_call_id[:80]}", NO_CALL)
