"""Many votes, one label per direction: the most trusted labeller speaks, the others shade its confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.label import Label, Verdict, worst
from policies.labelling.calibration import Calibration, recalibrated
from policies.labelling.correction import stated_direction
from policies.labelling.protocol import Case, Labeller

TRUST = ("correction", "constraint", "meaning", "reaction", "judge")
"""Labellers from the most to the least trusted (docs/labels.md); an unlisted one comes last."""

LABEL_ABOVE = 0.5
"""Confidence from which a verdict is given rather than `unknown`; a default of the configuration."""

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


def judge(
    case: Case,
    labellers: Sequence[Labeller],
    *,
    recorded: Sequence[Label] = (),
    calibrations: Mapping[str, Calibration] | None = None,
    label_above: float = LABEL_ABOVE,
) -> Judgement:
    """Let every labeller vote on a case and fuse the votes, with those `recorded` of labellers that need I/O.

    `calibrations` by labeller correct the confidences first; a label that is less sure than `label_above` is
    `unknown`.
    """
    cast = [vote for labeller in labellers for vote in labeller.vote(case)]
    votes = recalibrated([*cast, *recorded], calibrations or {})
    voted = {vote.direction_id for vote in votes}
    stated = (stated_direction(correction) for correction in case.corrections[-1:])
    return Judgement(
        votes, fuse(case.decision, votes, label_above), tuple(d for d in stated if d.id in voted)
    )


def fuse(
    decision: DecisionPoint, votes: Sequence[Label], label_above: float = LABEL_ABOVE
) -> tuple[Label, ...]:
    """Return one label per direction in force, per further direction voted on, and for None where that was
    voted on or no direction is known. Without a vote that is sure enough the label is `unknown`."""
    if any(vote.labeller == "meaning" for vote in votes):  # it read the same turn, with more understanding
        votes = [vote for vote in votes if vote.labeller != "reaction"]
    directions: list[str | None] = [direction.id for direction in decision.directions]
    directions += [vote.direction_id for vote in votes if vote.verdict != "unknown"]
    unique = list(dict.fromkeys(directions)) or [None]
    return tuple(
        _fuse_one(decision, d, [v for v in votes if v.direction_id == d], label_above) for d in unique
    )


def _fuse_one(
    decision: DecisionPoint, direction_id: str | None, votes: list[Label], label_above: float
) -> Label:
    telling = sorted((vote for vote in votes if vote.verdict != "unknown"), key=_rank)
    if telling and telling[0].labeller == "correction":
        return telling[0]
    confidence = _confidence(telling)
    if telling and confidence >= label_above:
        return telling[0].model_copy(update={"confidence": confidence})
    return Label(
        decision_id=decision.id,
        direction_id=direction_id,
        verdict="unknown",
        confidence=0.0,
        labeller="none",
        evidence=f"not sure enough: {telling[0].verdict} {confidence:.2f} by {telling[0].labeller}"
        if telling
        else "",
    )


def _confidence(telling: Sequence[Label]) -> float:
    """Return the confidence of the first vote, shaded by the others."""
    if not telling:
        return 0.0
    confidence = telling[0].confidence
    for vote in telling[1:]:
        if vote.verdict == telling[0].verdict:
            confidence += (1.0 - confidence) * _AGREED * vote.confidence
        else:
            confidence *= 1.0 - _DENIED * vote.confidence
    return round(confidence, 4)


def _rank(label: Label) -> tuple[int, float]:
    place = TRUST.index(label.labeller) if label.labeller in TRUST else len(TRUST)
    return place, -label.confidence
