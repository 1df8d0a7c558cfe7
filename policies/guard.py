"""The guard's rules: is a set of probe scores worse than it may be?

Items are compared in pairs with the baseline's. A worsening is a breach when its mean is over the
tolerance AND lies `z` standard errors from zero, so that one flipped item of a short list is no alarm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from policies.config import GuardConfig

Scores = Mapping[str, Mapping[str, float]]
"""`scores[probe][item]`: `nll`, `kl`, `leak` (nats a token), `facts` and `follow` (0 or 1)."""


class Judgement(BaseModel):
    """What the guard says of one run; `reasons` names every breach."""

    model_config = ConfigDict(frozen=True)

    breach: bool
    reasons: tuple[str, ...]


def judge(now: Scores, baseline: Scores, last_accepted: Scores, config: GuardConfig) -> Judgement:
    """Compare a run with the base model's (nll, facts, kl, leak) and the last accepted one's (follow)."""
    rules = (
        ("nll", _worsening(now, baseline, "nll", sign=1, relative=True), config.nll_increase),
        ("facts", _worsening(now, baseline, "facts", sign=-1), config.facts_drop),
        ("follow", _worsening(now, last_accepted, "follow", sign=-1), config.follow_drop),
        ("kl", _distance(now, "kl"), config.kl_to_base),
        ("leak", _distance(now, "leak"), config.leak),
    )
    reasons = [
        f"{name} worse by {mean:.3f}, allowed {allowed:.3f} (standard error {error:.3f})"
        for name, (mean, error), allowed in rules
        if not math.isfinite(mean) or (mean > allowed and mean >= config.z * error)
    ]
    return Judgement(breach=bool(reasons), reasons=tuple(reasons))


def _distance(now: Scores, name: str) -> tuple[float, float]:
    """Return (mean, standard error) of a probe that is zero on the base model by definition."""
    return _worsening(now, {name: dict.fromkeys(now.get(name, {}), 0.0)}, name, sign=1)


def _worsening(
    now: Scores, before: Scores, name: str, *, sign: int, relative: bool = False
) -> tuple[float, float]:
    """Return (mean, standard error) of the paired worsening over the items that both runs have."""
    pairs = [
        (now[name][item], before[name][item]) for item in now.get(name, {}) if item in before.get(name, {})
    ]
    if not pairs:
        return 0.0, 0.0
    scale = sum(b for _, b in pairs) / len(pairs) if relative else 1.0
    differences = [sign * (a - b) / scale for a, b in pairs]
    mean = sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / max(1, len(differences) - 1)
    return mean, math.sqrt(variance / len(differences))
