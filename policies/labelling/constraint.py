"""Labels by code: the checkable part of a direction, run on the answer or on the tool call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.constraints import Constraint, Detect, Reading, check_action, read_constraints
from policies.label import Label, Verdict
from policies.labelling.protocol import Case

_HALF_READ = 0.6  # an answer kept what could be read, but the direction demands more


@dataclass(frozen=True)
class ConstraintLabeller:
    """Checks every direction that can be read. `detect` is language detection, or None."""

    detect: Detect | None = None
    name: ClassVar[str] = "constraint"

    def vote(self, case: Case) -> list[Label]:
        """Vote on each readable direction; a tool call is no answer, only demands on calls see it."""
        votes = []
        for direction in case.decision.directions:
            outcome = verify(case, read_constraints(direction.text, self.detect))
            if outcome is not None:
                verdict, confidence, evidence = outcome
                votes.append(
                    Label(
                        decision_id=case.decision.id,
                        direction_id=direction.id,
                        verdict=verdict,
                        confidence=confidence,
                        labeller=self.name,
                        evidence=evidence,
                    )
                )
        return votes


def verify(case: Case, reading: Reading) -> tuple[Verdict, float, str] | None:
    """Return (verdict, confidence, evidence) of a case under a reading; None where nothing can be told."""
    decision = case.decision
    results = [
        (constraint, check_action(constraint, decision.turn, decision.call_index, decision.context))
        for constraint in reading.constraints
    ]
    failed = [constraint for constraint, kept in results if kept is False]
    if failed:
        return "ignored", max(c.confidence for c in failed), "broken: " + _names(failed)
    if not results or any(kept is None for _, kept in results):
        return None
    confidence = min(constraint.confidence for constraint, _ in results)
    checked = "kept: " + _names([constraint for constraint, _ in results])
    if reading.complete:
        return "followed", confidence, checked
    return "followed", min(confidence, _HALF_READ), f"{checked} (not all of the direction could be read)"


def _names(constraints: list[Constraint]) -> str:
    return ", ".join(str(constraint) for constraint in constraints)
