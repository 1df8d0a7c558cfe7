"""Which examples caused a breach: whose training pointed where the broken probe got worse.

To first order a step on example i changes the probe's loss by -rate * <gradient of i, gradient of the probe>
(TracIn, Pruthi et al., arXiv 2002.08484, eq. 1). The probe's gradient is taken at the broken weights (at the
base a distance from the base has none), the examples' at the restored ones, where they began. Both only on
the layers' last matrices, which bounds time and memory.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from learner.probing.suite import ProbeSuite
from learner.trainer import Trainer
from policies.errors import InputError
from policies.example import Example

_LOOKED_AT = re.compile(r"\.(down_proj|o_proj|out_proj)\.")

Gradient = dict[str, Tensor]


class Causes:
    """Looks for the causes of a breach, within `seconds`."""

    def __init__(self, trainer: Trainer, suite: ProbeSuite, seconds: float) -> None:
        self._trainer, self._suite, self._seconds = trainer, suite, seconds
        named = {n: p for n, p in trainer.parameters.items() if _LOOKED_AT.search(n)}
        self._parameters: dict[str, Parameter] = named or dict(trainer.parameters)

    def direction(self, broken: Sequence[str], systems: Sequence[str]) -> Gradient | None:
        """Return where the broken probes get worse, at the weights as they are; None: they say nothing."""
        if not broken or self._seconds <= 0:
            return None
        total: Gradient = {}
        for probe in broken:
            gradient = self._gradient(self._suite.harm(probe, systems))
            length = _length(gradient)
            if not 0 < length < float("inf"):
                continue
            for name, value in gradient.items():
                total[name] = total.get(name, 0) + value / length
        return total or None

    def harms(self, worse: Gradient, suspects: Sequence[Example]) -> dict[str, float] | None:
        """Return how far each example pushes there, 1 for the most, 0 for none; call it on restored weights.

        None when there was no time for all of them, or none pushes there: nobody can be told guilty or not.
        """
        began = time.monotonic()
        found: dict[str, float] = {}
        for example in suspects:
            if time.monotonic() - began > self._seconds:
                return None
            try:
                row = self._trainer.rows_for(example)[0]
            except InputError:
                return None
            loss = self._trainer.losses([row]).mean()
            gradient = self._gradient(loss)
            along = sum(float((gradient[name].float() * worse[name].float()).sum()) for name in worse)
            found[example.id] = -along / max(_length(gradient), 1e-12)
        most = max(found.values(), default=0.0)
        return {name: max(0.0, harm) / most for name, harm in found.items()} if most > 0 else None

    def _gradient(self, loss: Tensor) -> Gradient:
        values = torch.autograd.grad(loss, list(self._parameters.values()), allow_unused=True)
        return {
            name: torch.zeros_like(parameter) if value is None else value.detach()
            for (name, parameter), value in zip(self._parameters.items(), values, strict=True)
        }


def guilty(harms: Mapping[str, float], share: float) -> list[str]:
    """Return the examples whose harm is at least `share` of the worst one's."""
    return [name for name, harm in harms.items() if harm >= share]


def _length(gradient: Gradient) -> float:
    return float(torch.stack([value.float().norm() for value in gradient.values()]).norm())
