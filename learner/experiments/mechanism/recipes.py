"""The recipes that are compared: each differs from `all` in one thing, by the same batches of corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedModel

from learner.model import trainable
from policies.errors import ConfigError

REFERENCE = "all"
CONTROL = "undirected"
ADAMW = "adamw"
ATTENTION_LAYERS, MLPS = r"\.self_attn\.", r"\.mlp\."


@dataclass(frozen=True)
class Recipe:
    """One way to learn from the corrections of a seed.

    `rate` is a factor on the configured learning rate; `general` the share of general rows among all rows;
    `directed` False takes the direction out of every context.
    """

    name: str
    parameters: str = "all"
    optimizer: Literal["apollo", "adamw"] = "apollo"
    rate: float = 1.0
    general: float = 0.25
    pool: Literal["general", "log"] = "general"
    directed: bool = True


REPLAY = (
    Recipe("replay_0", general=0.0),
    Recipe("replay_10", general=0.1),
    Recipe("replay_50", general=0.5),
    Recipe("agent_log", pool="log"),
)
"""Beside `all`, which has 25 % of the general pool."""
PARTS = (
    Recipe("queries", parameters="queries"),
    Recipe("gates", parameters="gates"),
    Recipe("mlp", parameters=MLPS),
    Recipe("attention", parameters=ATTENTION_LAYERS),
)
_ALWAYS = (Recipe(REFERENCE), Recipe(CONTROL, directed=False), Recipe(ADAMW, optimizer="adamw"))
_FULL = (
    Recipe("adamw_tenth", optimizer="adamw", rate=0.1),
    Recipe("queries_fast", parameters="queries", rate=5.0),
)


def recipes_for(model: PreTrainedModel, quick: bool) -> list[Recipe]:
    """Return what is trained on `model`: parts that it does not have are left out."""
    replay = [recipe for recipe in REPLAY if not quick or recipe.name != "replay_10"]
    further = () if quick else _FULL
    return [r for r in (*_ALWAYS, *PARTS, *replay, *further) if has_parameters(model, r.parameters)]


def has_parameters(model: PreTrainedModel, which: str) -> bool:
    """Tell whether a model has any of the parameters that `which` names."""
    try:
        return bool(trainable(model, which))
    except ConfigError:
        return False
