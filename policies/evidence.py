"""Evidence against "it is no worse than allowed", gathered item by item and check by check.

One check's items give an e-value by betting (Waudby-Smith and Ramdas, arXiv 2010.09686): with y >= 0 and a
mean of at most 1 under the null, prod(1 + bet * (y - 1)) has an expectation of at most 1. A detector
multiplies them over checks and begins anew below 1 (the CUSUM of Shin, Ramdas and Rinaldo, "E-detectors",
arXiv 2203.03532): whatever the number of looks, the mean number of checks to a false alarm is at least
1 / alpha when it sounds at 1 / alpha. The mean of detectors is one, too: over bets, and over probes.

That holds where the items of a check are drawn by chance, anew each time, from those the claim is about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

BETS = (0.1, 0.3, 0.6, 0.9)
"""Shares of the stake: small ones find a small fall in the end, large ones a large fall at once."""
_CERTAIN = 600.0
"""Log of the most evidence that is kept: exp of it is still a number."""


class Detector(BaseModel):
    """The evidence so far, as logarithms, one for each bet; `since` is the last version before it began."""

    model_config = ConfigDict(frozen=True)

    logs: tuple[float, ...] = (0.0,) * len(BETS)
    since: str | None = None

    @property
    def evidence(self) -> float:
        """Return the mean over the bets; 1 is no evidence."""
        return sum(math.exp(value) for value in self.logs) / len(self.logs)

    @property
    def is_open(self) -> bool:
        """Tell whether any of it is kept: below 1 it begins anew."""
        return max(self.logs) > 0


def observe(
    detector: Detector, worsening: Sequence[float], *, allowed: float, lowest: float, version: str | None
) -> Detector:
    """Take in one check: the worsening of each item, cut at `lowest`, against a mean of at most `allowed`.

    Raises ValueError unless `lowest` < `allowed`. What is not finite is certain evidence.
    """
    if not lowest < allowed:
        raise ValueError(f"lowest {lowest} must lie below allowed {allowed}")
    if not all(math.isfinite(value) for value in worsening):
        return Detector(logs=(_CERTAIN,) * len(BETS), since=detector.since or version)
    scaled = [(max(value, lowest) - lowest) / (allowed - lowest) for value in worsening]
    gains = [sum(math.log1p(bet * (value - 1)) for value in scaled) for bet in BETS]
    logs = tuple(
        max(-_CERTAIN, min(_CERTAIN, max(before, 0.0) + gain))
        for before, gain in zip(detector.logs, gains, strict=True)
    )
    return Detector(logs=logs, since=detector.since if detector.is_open else version)
