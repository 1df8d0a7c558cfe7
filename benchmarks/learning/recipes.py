"""Ways to learn from the same corrections: heedloop's own, and what it is compared with."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.learning.cells import OBJECTIVES, RATES
from learner.experiments.course import Learned, Models, learn, rehearsed
from learner.experiments.directions import Direction
from learner.frozen import frozen_hidden
from learner.model import trainable
from learner.tokens import Row, answer_ids, build_row, prompt_of
from policies.config import RehearsalConfig, TrainingConfig
from policies.example import Example
from policies.turn import Message

SHOTS = 3
"""Corrected turns that are kept in the prompt; with three the frozen model follows most."""
_EPOCHS = 4
_ADAMW_RATE = 1e-4
"""The best of those that the pilot tried (3e-5 to 3e-4)."""
_FULL_RANK = 1 << 20
"""No tensor has so many rows: all get Adam's own moments."""


def learned_by(
    recipe: str,
    models: Models,
    directions: Sequence[Direction],
    corrections: Sequence[Example],
    pool: Sequence[Example],
    seed: int,
) -> Learned:
    """Let the model learn `directions`, which take turns in `corrections`, by one recipe.

    Raises ValueError for an unknown one.
    """
    if recipe == "adamw":
        return _adamw(models, corrections, pool, seed)
    if recipe == "correction_in_prompt":
        return in_prompt(directions, corrections)
    rehearsal = None if recipe == "no_rehearsal" else RehearsalConfig()
    return learn(models, corrections, pool, config_of(recipe), seed, rehearsal)


def config_of(recipe: str) -> TrainingConfig:
    """Return the settings of a recipe; heedloop's with one change. Raises ValueError for an unknown one.

    What is left out is left out by its weight, so that steps and their time stay the same; only
    `no_rehearsal`, which has fewer examples, takes fewer.
    """
    changes: dict[str, dict[str, object]] = {
        "heedloop": {},
        "no_rehearsal": {},
        "no_replay": {"replay_kl_weight": 0.0},
        "likelihood_only": {"deviation_weight": 1.0, "margin_weight": 0.0, "kl_weight": 0.0},
        "full_rank": {"rank": _FULL_RANK},
        **{name: {"objective": name} for name in OBJECTIVES},
        **{name: {"learning_rate": rate} for name, rate in RATES.items()},
    }
    if recipe not in changes:
        raise ValueError(f"no recipe is called {recipe!r}")
    return TrainingConfig.model_validate(changes[recipe])


def in_prompt(directions: Sequence[Direction], corrections: Sequence[Example]) -> Learned:
    """Keep the last corrections in the prompt; under a direction that was corrected, the last ones of it."""
    of_each = {d.name: _shots(corrections[i :: len(directions)]) for i, d in enumerate(directions)}
    return Learned(0.0, 0, 0, (), _shots(corrections), of_each)


def _shots(corrections: Sequence[Example]) -> tuple[Message, ...]:
    """Return the last corrections as turns: what the user asked, with the direction, and the right answer."""
    turns: list[Message] = []
    for example in corrections[-SHOTS:]:
        asked = " ".join(str(m["content"]) for m in example.context if m["role"] == "user")
        told = "" if (example.direction or "") in asked else f" {example.direction}"
        turns += [
            {"role": "user", "content": asked + told},
            {"role": "assistant", "content": example.chosen or ""},
        ]
    return tuple(turns)


def _adamw(models: Models, corrections: Sequence[Example], pool: Sequence[Example], seed: int) -> Learned:
    """Fine-tune all weights on the same pairs, rehearsed ones too, by likelihood alone.

    The weights are fp32 meanwhile: in bf16 most of AdamW's steps would be rounded away.
    """
    began = time.monotonic()
    practised = rehearsed(models, corrections, pool, RehearsalConfig(), seed)
    rows = [_row(models.tokenizer, example) for example in (*corrections, *practised)]
    kept = models.model.dtype
    _cast(models.model, torch.float32)
    losses = _fine_tuned(models.model, rows, random.Random(seed))
    _cast(models.model, kept)
    return Learned(time.monotonic() - began, len(losses), len(practised), losses)


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Change the type of the parameters alone: `model.to` would round the frequencies of RoPE for good."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _fine_tuned(model: PreTrainedModel, rows: list[Row], draw: random.Random) -> tuple[float, ...]:
    """Take epochs in batches of four; return the losses."""
    parameters = list(trainable(model).values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=_ADAMW_RATE, weight_decay=0.0, foreach=True)
    losses = []
    for _ in range(_EPOCHS):
        draw.shuffle(rows)
        for start in range(0, len(rows), 4):
            hidden = frozen_hidden(model, rows[start : start + 4])
            loss = F.cross_entropy(model.lm_head(hidden.states).float(), hidden.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return tuple(losses)


def _row(tokenizer: PreTrainedTokenizerBase, example: Example) -> Row:
    prompt = prompt_of(tokenizer, list(example.context), 2048)
    ids = answer_ids(tokenizer, example.chosen or "")
    return build_row(example.id, "correction", prompt, ids, None, 64)
