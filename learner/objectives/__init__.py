"""How a correction is learned: one interface, one module an objective, chosen by `training.objective`."""

from __future__ import annotations

from learner.objectives.distillation import Distillation
from learner.objectives.likelihood import Likelihood
from learner.objectives.objective import (
    Objective,
    Scored,
    Want,
    answer_states,
    batch_losses,
    kl_to_base,
    log_probs,
    log_probs_of,
)
from learner.objectives.preference import Preference
from learner.objectives.stripping import Stripping
from learner.objectives.unpaired import Unpaired
from policies.config import TrainingConfig

__all__ = [
    "Objective",
    "Scored",
    "Want",
    "answer_states",
    "batch_losses",
    "kl_to_base",
    "log_probs",
    "log_probs_of",
    "objective_of",
]

_OBJECTIVES: dict[str, type[Objective]] = {
    "likelihood": Likelihood,
    "preference": Preference,
    "unpaired": Unpaired,
    "distillation": Distillation,
    "stripping": Stripping,
}


def objective_of(config: TrainingConfig) -> Objective:
    """Return the objective that the configuration names."""
    return _OBJECTIVES[config.objective](config)
