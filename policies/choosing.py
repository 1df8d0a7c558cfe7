"""Which judged answers are wanted, by what their labels say; what is left out has a reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from policies.errors import InputError
from policies.label import Verdict, worst

_AGO = re.compile(r"(\d{1,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}

Apart = Literal["held", "quarantined", "rehearsals"]
"""What stays out unless asked for: it waits for a person, the guard took it out, or it rehearses another."""


class Said(NamedTuple):
    """A label in force on an answer, with the text of its direction where one is known."""

    verdict: Verdict
    confidence: float
    labeller: str
    direction: str | None


class Wanted(BaseModel):
    """What is asked for: `since` is UTC milliseconds; None of anything is all of it."""

    model_config = ConfigDict(frozen=True)

    verdict: Literal["followed", "ignored"] | None = None
    direction: str | None = None
    since: int | None = None
    min_confidence: float = 0.9
    labeller: str | None = None
    include: frozenset[Apart] = frozenset()


class LeftOut(ValueError):
    """An answer that is not wanted; the text is the reason, the same for all such answers."""


def verdict_of(labels: Sequence[Said], wanted: Wanted) -> Verdict:
    """Return what an answer counts as: ignored before followed, of what is sure. Raises LeftOut.

    Followed is only what nothing, however unsure, calls ignored: a wrong row costs more than a missed one.
    """
    given = [label for label in labels if label.verdict != "unknown"]
    sure = [label for label in given if label.confidence >= wanted.min_confidence]
    if not given:
        raise LeftOut("followed or ignored: unknown")
    if not sure:
        raise LeftOut(f"less sure than {wanted.min_confidence:g}")
    verdict = worst([label.verdict for label in sure])
    if verdict == "followed" and any(label.verdict == "ignored" for label in given):
        raise LeftOut("disputed: a less sure label says ignored")
    if wanted.verdict not in (None, verdict):
        raise LeftOut(f"{verdict}, not asked for")
    deciding = [label for label in sure if label.verdict == verdict]
    if wanted.direction is not None and not any(_names(label, wanted.direction) for label in deciding):
        raise LeftOut("under another direction")
    if wanted.labeller is not None and all(label.labeller != wanted.labeller for label in deciding):
        raise LeftOut("said by another labeller")
    return verdict


def _names(label: Said, text: str) -> bool:
    return label.direction is not None and text.lower() in label.direction.lower()


def since_of(text: str, now_ms: int) -> int:
    """Return UTC milliseconds of a date, a time (UTC unless it says otherwise), or so long ago: 12h, 7d, 2w.

    Raises InputError for other text.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_ms - int(ago[1]) * _HOURS[ago[2]] * 3_600_000
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"--since {text!r}: give a date or time like 2026-01-31, or 12h, 7d, 2w") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
