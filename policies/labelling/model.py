"""The models behind the reaction labeller: logistic regression, the weights in files beside this one."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from policies.labelling.calibration import Calibration, logistic


class ReactionModel(BaseModel):
    """Weights by feature and, with `vectors`, by component; a calibration fitted on rows they never saw."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    intercept: float
    weights: Mapping[str, float]
    vectors: Mapping[str, tuple[float, ...]] = Field(default_factory=dict)
    calibration: Calibration

    def probability(
        self, found: Mapping[str, float], vectors: Mapping[str, Sequence[float]] | None = None
    ) -> float:
        """Return how likely it is that a next turn with these features says: ignored."""
        score = self.intercept + sum(self.weights.get(name, 0.0) * value for name, value in found.items())
        for name, weights in self.vectors.items():
            score += sum(map(operator.mul, weights, (vectors or {})[name]))
        return self.calibration.calibrated(logistic(score))

    def reasons(self, found: Mapping[str, float], count: int = 3) -> tuple[str, ...]:
        """Return the names of the features that speak most for it."""
        parts = {name: self.weights.get(name, 0.0) * value for name, value in found.items()}
        ranked = sorted(parts, key=lambda name: -parts[name])
        return tuple(name for name in ranked[:count] if parts[name] > 0)


@cache
def words_model() -> ReactionModel:
    """Return the model that reads words alone; `python -m benchmarks.fit_reaction` makes it."""
    return _shipped("reaction.json")


@cache
def meaning_model() -> ReactionModel:
    """Return the model that reads words and sentence vectors; the same command makes it."""
    return _shipped("reaction_meaning.json")


def _shipped(name: str) -> ReactionModel:
    text = files("policies.labelling").joinpath(name).read_text(encoding="utf-8")
    return ReactionModel.model_validate_json(text)
