"""Labels by explicit corrections: a person said so, on the bus or by `run.py correct`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints import Detect, broken, read_constraints
from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.label import Label
from policies.labelling.protocol import Case
from policies.messages import CorrectionPayload

_ALIKE = 0.6  # share of common words from which two texts name the same direction


@dataclass(frozen=True)
class CorrectionLabeller:
    """Takes the last correction of a turn at its word."""

    detect: Detect | None = None
    name: ClassVar[str] = "correction"

    def vote(self, case: Case) -> list[Label]:
        """Vote on what the correction is about; a correction judges the turn, so further calls of it too."""
        if not case.corrections:
            return []
        correction = case.corrections[-1]
        votes = []
        for direction in meant_directions(correction, case.decision, self.detect) or (None,):
            votes.append(
                Label(
                    decision_id=case.decision.id,
                    direction_id=direction.id if direction else None,
                    verdict=correction.verdict,
                    confidence=1.0,
                    labeller=self.name,
                    evidence=f"correction {correction.event_id}"
                    + (f" by {correction.author}" if correction.author else ""),
                )
            )
        return votes


def meant_directions(
    correction: CorrectionPayload, decision: DecisionPoint, detect: Detect | None = None
) -> tuple[Direction, ...]:
    """Return the directions a correction speaks of; none: it speaks of the decision as a whole.

    The one it names; else, for `followed`, all in force; else the only one in force; else those that
    the answer breaks and the corrected text keeps.
    """
    if correction.direction and correction.direction.strip():
        known = match_direction(correction.direction, decision.directions, detect)
        return (known or stated_direction(correction),)
    if correction.verdict == "followed" or len(decision.directions) == 1:
        return decision.directions
    return tuple(
        d for d in decision.directions if _mended(d, decision.turn.content, correction.corrected, detect)
    )


def stated_direction(correction: CorrectionPayload) -> Direction:
    """Return the direction a correction states itself, for when none in force matches it."""
    return Direction(
        id=f"{correction.event_id}/0",
        conversation_id=correction.conversation_id,
        event_id=correction.event_id,
        text=(correction.direction or "").strip(),
        scope="once",
    )


def match_direction(
    text: str, directions: Sequence[Direction], detect: Detect | None = None
) -> Direction | None:
    """Find the direction that a text names: by its words, by the same demands, or by most of its words."""
    words = _words(text)
    for direction in directions:
        if words and _words(direction.text) == words:
            return direction
    stated = set(read_constraints(text, detect).constraints)
    for direction in directions:
        if stated and set(read_constraints(direction.text, detect).constraints) == stated:
            return direction
    best = max(directions, key=lambda direction: _overlap(words, _words(direction.text)), default=None)
    if best is None or _overlap(words, _words(best.text)) < _ALIKE:
        return None
    # Alike in words but not in what is demanded ("fewer than 8 words", "fewer than 80 words") is another.
    other = set(read_constraints(best.text, detect).constraints)
    return None if stated and other and not stated & other else best


def _mended(direction: Direction, answer: str, corrected: str | None, detect: Detect | None) -> bool:
    constraints = read_constraints(direction.text, detect).constraints
    return bool(broken(answer, constraints)) and (corrected is None or not broken(corrected, constraints))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def _overlap(a: Sequence[str], b: Sequence[str]) -> float:
    return len(set(a) & set(b)) / len(set(a) | set(b)) if a and b else 0.0
