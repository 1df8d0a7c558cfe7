"""Confidence that means what it says: of what is labelled with 0.9, nine in ten are right.

Platt scaling on the log-odds of a confidence. Few labels pull it only a little away from what is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

from policies.label import Label

Outcome = tuple[float, bool]
"""A confidence, and whether what was said with it is right."""

_SUREST = 0.995  # nothing but a person's own word is certain
_STEPS = 50
_SMALLEST = 1e-6  # part of a step


class Calibration(BaseModel):
    """`slope` and `intercept` on the log-odds, and what they were fitted on; `weight` 0 silences."""

    model_config = ConfigDict(frozen=True)

    labeller: str
    slope: float = Field(1.0, ge=0)
    intercept: float = 0.0
    weight: float = Field(1.0, ge=0, le=1)
    rows: int = 0
    fitted: str = Field("", description="date, UTC")
    data: str = Field("", description="digest of the rows, or what they are")

    def calibrated(self, confidence: float) -> float:
        """Return the confidence that outcomes bear out."""
        odds = logit(min(max(confidence, 1 - _SUREST), _SUREST))
        return round(min(logistic(self.intercept + self.slope * odds), _SUREST), 4)


def fit_calibration(outcomes: Sequence[Outcome], *, prior: float = 8.0) -> tuple[float, float]:
    """Return (slope, intercept) of the most likely calibration.

    `prior`: how firmly slope 1 and intercept 0 are held to; about as many rows outvote it.
    """
    points = [(logit(min(max(p, 1 - _SUREST), _SUREST)), float(right)) for p, right in outcomes]
    at = (1.0, 0.0)
    loss = _loss(at, points, prior)
    for _ in range(_STEPS):
        step = _newton_step(at, points, prior)
        share = 1.0
        while share > _SMALLEST:  # a whole step may overshoot where all points are far out
            there = (at[0] - share * step[0], at[1] - share * step[1])
            if (new := _loss(there, points, prior)) < loss:
                at, loss = there, new
                break
            share /= 2
        else:
            break
    return max(at[0], 0.0), at[1]


def _loss(at: tuple[float, float], points: Sequence[tuple[float, float]], prior: float) -> float:
    slope, intercept = at
    held = prior / 2 * ((slope - 1) ** 2 + intercept**2)
    return held - sum(math.log(logistic((2 * y - 1) * (intercept + slope * x))) for x, y in points)


def _newton_step(
    at: tuple[float, float], points: Sequence[tuple[float, float]], prior: float
) -> tuple[float, float]:
    slope, intercept = at
    by_slope, by_intercept = prior * (slope - 1), prior * intercept
    h_ss, h_si, h_ii = prior, 0.0, prior
    for x, y in points:
        p = logistic(intercept + slope * x)
        by_slope, by_intercept = by_slope + (p - y) * x, by_intercept + p - y
        spread = p * (1 - p)
        h_ss, h_si, h_ii = h_ss + spread * x * x, h_si + spread * x, h_ii + spread
    determinant = h_ss * h_ii - h_si * h_si
    return (
        (h_ii * by_slope - h_si * by_intercept) / determinant,
        (h_ss * by_intercept - h_si * by_slope) / determinant,
    )


def recalibrated(votes: Sequence[Label], calibrations: Mapping[str, Calibration]) -> tuple[Label, ...]:
    """Return the votes with calibrated confidence; those of a labeller of weight 0 are gone."""
    kept = []
    for vote in votes:
        calibration = calibrations.get(vote.labeller)
        if calibration is None or vote.verdict == "unknown":
            kept.append(vote)
        elif calibration.weight > 0:
            confidence = calibration.calibrated(vote.confidence) * calibration.weight
            kept.append(vote.model_copy(update={"confidence": round(confidence, 4)}))
    return tuple(kept)


def reliability(
    outcomes: Sequence[Outcome], edges: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
) -> list[dict[str, float]]:
    """Return, for each range of confidence that has rows: its mean, the share that is right, and n."""
    curve = []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        inside = [(p, right) for p, right in outcomes if low <= p < high or (last and p == high)]
        if inside:
            curve.append(
                {
                    "from": low,
                    "to": high,
                    "confidence": sum(p for p, _ in inside) / len(inside),
                    "right": sum(right for _, right in inside) / len(inside),
                    "n": len(inside),
                }
            )
    return curve


def logistic(x: float) -> float:
    """Return the probability of log-odds."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def logit(p: float) -> float:
    """Return the log-odds of a probability between 0 and 1 (both excluded)."""
    return math.log(p / (1 - p))
