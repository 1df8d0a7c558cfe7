"""When a round of training starts, how many steps it plans, and the learning rate of each step."""

from __future__ import annotations

import math

from policies.config import TrainingConfig


def round_starts(waiting: int, quiet_s: float, training: TrainingConfig) -> bool:
    """Say whether to start: enough corrections wait, or some do and nothing new came for a while."""
    if not training.enabled or waiting <= 0:
        return False
    return waiting >= training.start_after_examples or quiet_s >= training.start_after_s


def planned_steps(remaining_uses: int, corrections_per_batch: int) -> int:
    """Return the steps that so many uses of corrections need."""
    return math.ceil(remaining_uses / corrections_per_batch)


def learning_rate(training: TrainingConfig, step: int, *, remaining_uses: int, planned_uses: int) -> float:
    """Return the rate of a step of a round (`step` counts from 0): warm-up, times a linear decay.

    `remaining_uses` counts before the step; `planned_uses` is what the round has planned in all, so that
    corrections which come in during a round raise both and stretch the decay. Never below zero, never
    above the peak. Decay to zero leaks less than a constant rate (research/conditional.md). A round of few
    uses stays below the peak: Adam's first steps are as long as later ones, and nothing comes after them
    that would pull the model back (docs/log.md).
    """
    if planned_uses <= 0:
        return 0.0
    peak = training.learning_rate * min(1.0, planned_uses / training.full_rate_uses)
    rise = min(1.0, (step + 1) / training.warmup_steps) if training.warmup_steps > 0 else 1.0
    return peak * rise * min(1.0, max(0.0, remaining_uses / planned_uses))
