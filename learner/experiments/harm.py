"""What learning costs: facts, general text and nearness to the base, by item."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments.intervals import Grid, Interval, mean, minus, of_grid
from learner.probing.material import load_material
from learner.probing.scores import base_answers, fact_matches, kl_to_base, text_nll

_KL_TOKENS = 24


class Harm:
    """Scores a model on the first so many items of the probes."""

    def __init__(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        facts: int,
        texts: int,
        prompts: int,
    ) -> None:
        material = load_material()
        self._tokenizer = tokenizer
        self._facts, self._texts = material.facts[:facts], material.texts[:texts]
        self._answers = base_answers(base, tokenizer, material.prompts[:prompts], _KL_TOKENS)

    def of(self, model: PreTrainedModel) -> dict[str, list[float]]:
        """Return `facts` (0 or 1), `nll` (nats a token) and `kl` (to the base, nats a token)."""
        return {
            "facts": list(fact_matches(model, self._tokenizer, self._facts).values()),
            "nll": list(text_nll(model, self._tokenizer, self._texts).values()),
            "kl": list(kl_to_base(model, self._answers).values()),
        }


@dataclass(frozen=True)
class Change:
    """A figure less that of the base, with its interval."""

    value: float
    interval: Interval


def change(rows: Grid, base: list[float], *, relative: bool = False) -> Change:
    """Return the paired change against the base, over seeds and items; `relative`: in parts of the base."""
    scale = fmean(base) if relative else 1.0
    difference = [[value / scale for value in row] for row in minus(rows, [base] * len(rows))]
    return Change(mean(difference), of_grid(difference))


def changes(cells: list[dict[str, Any]], base: dict[str, list[float]]) -> dict[str, Change]:
    """Return what changed against the base over the cells of all seeds; NLL in parts of the base's."""
    return {
        part: change([cell[part] for cell in cells], base[part], relative=part == "nll")
        for part in ("follow", "leak", "facts", "nll", "kl")
    }
