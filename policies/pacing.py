"""How much of its time the learner may work while the server has requests.

The server counts its decode steps twice: those during which the learner rested, and those during which it
worked. Their ratio is the slowdown that the learner causes; a budget for the mean slowdown then gives the
share of the time that it may work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN_SHARE = 0.5
"""Share of work while the slowdown is not known yet: both kinds of steps are counted fastest so."""
PROBING_SHARE = 0.95
"""Most that the learner works under load: without rests there is nothing to compare with."""
ENOUGH = 30.0
"""Decode steps of each kind below which a slowdown is not believed."""


@dataclass(frozen=True)
class DecodeSteps:
    """Decode steps of one batch size: how many, and their seconds, by what the learner did meanwhile."""

    resting: float = 0.0
    resting_s: float = 0.0
    working: float = 0.0
    working_s: float = 0.0


def slowdown(steps: Sequence[DecodeSteps]) -> float | None:
    """Return how much longer a decode step takes while the learner works: 0.1 is 10 %.

    Batch sizes count by their working steps. None while too few of either kind are known.
    """
    known = [s for s in steps if s.resting and s.working]
    resting, working = sum(s.resting for s in known), sum(s.working for s in known)
    if min(resting, working) < ENOUGH:
        return None
    expected = sum(s.working * s.resting_s / s.resting for s in known)
    return sum(s.working_s for s in known) / expected - 1.0


def work_share(requests: int, measured: float | None, budget: float, floor: float) -> float:
    """Return the share of its time that the learner may work, never below `floor`.

    `requests` run or wait in the server; `measured` is the `slowdown` while the learner works; `budget` is
    the mean slowdown that is allowed, of which the learner's working time takes its share.
    """
    if requests == 0:
        return 1.0
    if measured is None:
        return max(floor, UNKNOWN_SHARE)
    allowed = PROBING_SHARE if measured <= budget else budget / measured
    return min(max(allowed, floor), PROBING_SHARE)


def rest_after(worked_s: float, share: float) -> float:
    """Return how long to rest after working for `worked_s`, so that work takes `share` of the time."""
    return worked_s * (1.0 / share - 1.0)


def burst(step_s: float | None) -> float:
    """Return how long to work at a stretch: some decode steps of `step_s`, so that they can be told apart."""
    return 0.2 if step_s is None else min(max(5.0 * step_s, 0.02), 0.5)


def spare_cpus(cores: Sequence[Sequence[int]], server_threads: int, learner_threads: int) -> frozenset[int]:
    """Return the CPUs for the learner alone, or none where there are none to spare.

    `cores` are the physical cores, each with its logical CPUs. The server keeps a core for each of its
    threads and one for its HTTP side; the learner gets whole cores, so that it shares none with it.
    """
    if len(cores) < server_threads + 1 + learner_threads:
        return frozenset()
    return frozenset(cpu for core in cores[-learner_threads:] for cpu in core)
