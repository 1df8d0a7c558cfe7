"""The guard's rules: is a set of probe scores worse than it may be?

Items are compared in pairs: with the base model's, `follow` with the best of each item in the last accepted
runs, so that no slow fall hides. A breach is a mean over what is allowed (plus the noise measured at the
start) AND evidence for it (`policies.evidence`) that a sound model gives at most once in
`guard.checks_per_false_alarm` checks, however often one looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from policies.config import GuardConfig
from policies.evidence import Detector, observe

Scores = Mapping[str, Mapping[str, float]]
"""`scores[probe][item]`: `nll`, `kl`, `leak` (nats a token); `facts`, `choice`, `follow`, `own` (0 or 1);
`repetition` (share of repeated words), `length` and `entropy` (relative distance from the base's)."""


@dataclass(frozen=True)
class Rule:
    """How one probe is judged; `sign` 1: more is worse; an improvement beyond `lowest` counts as `lowest`.

    `against` is "base", "accepted" (the best of the last accepted runs), or "zero" for a distance from the
    base.
    """

    sign: int
    against: str
    lowest: float
    relative: bool = False


RULES = {
    "nll": Rule(1, "base", -0.05, relative=True),
    "facts": Rule(-1, "base", -1.0),
    "choice": Rule(-1, "base", -1.0),
    "follow": Rule(-1, "accepted", -1.0),
    "own": Rule(-1, "base", -1.0),
    "kl": Rule(1, "zero", 0.0),
    "leak": Rule(1, "zero", 0.0),
    "repetition": Rule(1, "base", -0.5),
    "length": Rule(1, "zero", 0.0),
    "entropy": Rule(1, "zero", 0.0),
}
"""Every probe that can be a breach. KL below zero is rounding, and counts as zero."""


class Judgement(BaseModel):
    """What the guard says of one run; `reasons` names every breach.

    `suspect` are probes with a mean over what is allowed, but not the evidence: look at more of their items.
    `since` is the last version before the evidence began (None: where nothing is a breach).
    """

    model_config = ConfigDict(frozen=True)

    breach: bool
    suspect: tuple[str, ...] = ()
    reasons: tuple[str, ...]
    broken: tuple[str, ...] = ()
    since: str | None = None
    detectors: dict[str, Detector] = {}


def allowances(config: GuardConfig) -> dict[str, float]:
    """Return the mean worsening that each probe may show."""
    return {
        "nll": config.nll_increase,
        "facts": config.facts_drop,
        "choice": config.facts_drop,
        "follow": config.follow_drop,
        "own": config.own_drop,
        "kl": config.kl_to_base,
        "leak": config.leak,
        "repetition": config.repetition,
        "length": config.length_change,
        "entropy": config.entropy_change,
    }


def judge(
    now: Scores,
    baseline: Scores,
    best_accepted: Scores,
    config: GuardConfig,
    detectors: Mapping[str, Detector] | None = None,
    *,
    floor: Mapping[str, float] | None = None,
    version: str | None = None,
) -> Judgement:
    """Judge one run, given the evidence of the runs before it. `version` is the one in force.

    `floor` is the noise of each probe, measured by checks between which nothing changed.
    """
    known, noise = dict(detectors or {}), floor or {}
    threshold = config.checks_per_false_alarm * len(RULES)
    reasons, broken, suspect = [], [], []
    for name, limit in allowances(config).items():
        allowed = limit + noise.get(name, 0.0)
        items = worsening(name, now, baseline, best_accepted)
        if not items:
            continue
        before = known.get(name, Detector())
        found = observe(before, items, allowed=allowed, lowest=RULES[name].lowest, version=version)
        known[name] = found
        mean = sum(items) / len(items)
        if found.evidence >= threshold:
            broken.append(name)
            reasons.append(
                f"{name} worse by {mean:.3f}, allowed {allowed:.3f}"
                f" (evidence {min(found.evidence, 1e99):.2g}, needed {threshold:.0f}, {len(items)} items)"
            )
        elif mean > allowed:
            suspect.append(name)
    starts = [known[name].since for name in broken]
    return Judgement(
        breach=bool(broken),
        suspect=() if broken else tuple(suspect),
        reasons=tuple(reasons),
        broken=tuple(broken),
        since=next((start for start in starts if start is not None), None),
        detectors=known,
    )


def worsening(name: str, now: Scores, baseline: Scores, best_accepted: Scores) -> list[float]:
    """Return the paired worsening of each item that both runs have; a distance needs no pair."""
    rule = RULES[name]
    items = now.get(name, {})
    if rule.against == "zero":
        return [value if math.isnan(value) else max(value, 0.0) for value in items.values()]
    before = (baseline if rule.against == "base" else best_accepted).get(name, {})
    pairs = [(value, before[item]) for item, value in items.items() if item in before]
    scale = sum(b for _, b in pairs) / len(pairs) if rule.relative and pairs else 1.0
    return [rule.sign * (a - b) / scale for a, b in pairs]


def noise_floor(runs: list[Scores], baseline: Scores) -> dict[str, float]:
    """Return, for each probe, the largest mean difference from `baseline` in checks that changed nothing."""
    found: dict[str, float] = {}
    for run in runs:
        for name in RULES:
            items = worsening(name, run, baseline, baseline)
            if items:
                found[name] = max(found.get(name, 0.0), abs(sum(items) / len(items)))
    return found
