"""Ways to learn from the same corrections: heedloop's own, and what it is compared with."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase

from benchmarks.learning.cells import OBJECTIVES
from learner.experiments.course import Learned, Models, learn
from learner.frozen import frozen_hidden
from learner.model import trainable
from learner.tokens import Row, answer_ids, build_row, prompt_of
from policies.config import RehearsalConfig, TrainingConfig
from policies.example import Example

SHOTS = 3
"""Corrected turns that are kept in the prompt."""
_EPOCHS = 4
_ADAMW_RATE = 2e-5


def learned_by(
    recipe: str, models: Models, corrections: Sequence[Example], pool: Sequence[Example], seed: int
) -> Learned:
    """Let the model learn by one recipe. Raises ValueError for an unknown one."""
    config = TrainingConfig()
    if recipe == "heedloop":
        return learn(models, corrections, pool, config, seed, RehearsalConfig())
    if recipe == "no_rehearsal":
        return learn(models, corrections, pool, config, seed)
    if recipe == "likelihood_only":
        plain = {"deviation_weight": 1.0, "margin_weight": 0.0}
        return learn(models, _untwinned(corrections), pool, config.model_copy(update=plain), seed)
    if recipe == "no_replay":
        return learn(models, corrections, pool, config.model_copy(update={"replay_kl_weight": 0.0}), seed)
    if recipe in OBJECTIVES:
        config = TrainingConfig.model_validate({"objective": recipe})
        return learn(models, corrections, pool, config, seed, RehearsalConfig())
    if recipe == "adamw":
        return _adamw(models, corrections, seed)
    if recipe == "correction_in_prompt":
        return Learned(0.0, 0, 0, (), _shots(corrections))
    raise ValueError(f"no recipe is called {recipe!r}")


def _untwinned(corrections: Sequence[Example]) -> list[Example]:
    return [example.model_copy(update={"twin_context": None}) for example in corrections]


def _shots(corrections: Sequence[Example]) -> tuple[dict[str, str], ...]:
    """Return the last corrections as turns: what the user asked, with the direction, and the right answer."""
    turns: list[dict[str, str]] = []
    for example in corrections[-SHOTS:]:
        asked = " ".join(str(m["content"]) for m in example.context if m["role"] == "user")
        told = "" if (example.direction or "") in asked else f" {example.direction}"
        turns += [
            {"role": "user", "content": asked + told},
            {"role": "assistant", "content": example.chosen or ""},
        ]
    return tuple(turns)


def _adamw(models: Models, corrections: Sequence[Example], seed: int) -> Learned:
    """Fine-tune all weights on the corrections alone, by likelihood: four epochs in batches of four."""
    began = time.monotonic()
    model, tokenizer, draw = models.model, models.tokenizer, random.Random(seed)
    parameters = list(trainable(model).values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=_ADAMW_RATE, weight_decay=0.0, foreach=True)
    rows = [_row(tokenizer, example) for example in corrections]
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
    return Learned(time.monotonic() - began, len(losses), 0, tuple(losses))


def _row(tokenizer: PreTrainedTokenizerBase, example: Example) -> Row:
    prompt = prompt_of(tokenizer, list(example.context), 2048)
    ids = answer_ids(tokenizer, example.chosen or "")
    return build_row(example.id, "correction", prompt, ids, None, 64)
