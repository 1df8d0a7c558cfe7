"""Many votes, one label per direction: the most trusted labeller speaks, the others shade its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.label import Label, Verdict, worst
from policies.labelling.correction import stated_direction
from policies.labelling.protocol import Case, Labeller

TRUST = ("correction", "constraint", "reaction", "judge")
"""Labellers from the most to the least trusted (DESIGN.md section 5); an unlisted one comes last."""

_AGREED = 0.3  # share of the remaining doubt that an agreeing vote takes away
_DENIED = 0.15  # share of its own confidence by which a denying vote lowers another


@dataclass(frozen=True)
class Judgement:
    """What is said of a decision: every vote, one label per direction, and what a correction stated."""

    votes: tuple[Label, ...]
    labels: tuple[Label, ...]
    stated: tuple[Direction, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Return the verdict that the decision counts under."""
        return worst([label.verdict for label in self.labels])


def judge(case: Case, labellers: Sequence[Labeller]) -> Judgement:
    """Let every labeller vote on a case and fuse the votes."""
    votes = tuple(vote for labeller in labellers for vote in labeller.vote(case))
    voted = {vote.direction_id for vote in votes}
    stated = (stated_direction(correction) for correction in case.corrections[-1:])
    return Judgement(votes, fuse(case.decision, votes), tuple(d for d in stated if d.id in voted))


def fuse(decision: DecisionPoint, votes: Sequence[Label]) -> tuple[Label, ...]:
    """Return one label per direction in force, per further direction voted on, and for None where that was
    voted on or no direction is known. Without a vote the label is `unknown`."""
    directions: list[str | None] = [direction.id for direction in decision.directions]
    directions += [vote.direction_id for vote in votes]
    unique = list(dict.fromkeys(directions)) or [None]
    return tuple(_fuse_one(decision, d, [v for v in votes if v.direction_id == d]) for d in unique)


def _fuse_one(decision: DecisionPoint, direction_id: str | None, votes: list[Label]) -> Label:
    telling = sorted((vote for vote in votes if vote.verdict != "unknown"), key=_rank)
    if not telling:
        return Label(
            decision_id=decision.id,
            direction_id=direction_id,
            verdict="unknown",
            confidence=0.0,
            labeller="none",
        )
    first = telling[0]
    if first.labeller == "correction":
        return first
    confidence = first.confidence
    for vote in telling[1:]:
        if vote.verdict == first.verdict:
            confidence += (1.0 - confidence) * _AGREED * vote.confidence
        else:
            confidence *= 1.0 - _DENIED * vote.confidence
    return first.model_copy(update={"confidence": round(confidence, 4)})


def _rank(label: Label) -> tuple[int, float]:
    place = TRUST.index(label.labeller) if label.labeller in TRUST else len(TRUST)
    return place, -label.confidence
