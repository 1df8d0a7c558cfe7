"""The loss of a row: learn the correction where its direction holds, stay the base model elsewhere.

- correction: likelihood of the chosen answer, the tokens that deviate from the rejected one weighing more;
- twin and general: KL(base || now) on the base model's answer in place of likelihood, which would
  sharpen the model;
- correction and twin: a margin between the two answers at the first token where they part. With the
  direction the new token must win, without it the old one: a swapped pair in one row of logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from learner.frozen import frozen_hidden
from learner.tokens import Row
from policies.config import TrainingConfig


def row_loss(logits: Tensor, row: Row, reference: Tensor | None, config: TrainingConfig) -> Tensor:
    """Return the scalar loss of one row.

    `logits` [T, V] predict `row.answer`; `reference` [T, V] are the base model's log-probabilities
    there, needed for twin and general rows.
    """
    labels = torch.tensor(row.answer, device=logits.device)
    weights = torch.tensor(row.deviates, device=logits.device, dtype=torch.float32)
    weights = 1.0 + (config.deviation_weight - 1.0) * weights
    if row.kind == "correction":
        tokens, scale = F.cross_entropy(logits, labels, reduction="none"), 1.0
    elif reference is not None:
        tokens = kl_to_base(logits, reference)
        scale = config.kl_weight if row.kind == "twin" else config.replay_kl_weight
    else:
        raise ValueError(
            f"row of example {row.example_id} is a {row.kind} row without base log-probabilities"
        )
    loss = scale * (weights * tokens).sum() / weights.sum()
    if row.first is not None and config.margin_weight:
        chosen, other = logits[row.first, row.answer[row.first]], logits[row.first, row.against]
        loss = loss + config.margin_weight * F.softplus(config.margin - (chosen - other))
    return row.weight * loss


def kl_to_base(logits: Tensor, reference: Tensor) -> Tensor:
    """Return KL(base || now) of every position, in nats: [T] from logits and base log-probabilities."""
    base = reference.to(logits.dtype)
    return (base.exp() * (base - F.log_softmax(logits, -1))).sum(-1)


def batch_losses(
    model: PreTrainedModel,
    rows: Sequence[Row],
    references: Sequence[Tensor | None],
    config: TrainingConfig,
) -> Tensor:
    """Return the losses of all rows, [rows], of one context-frozen pass. Their mean is the batch's loss."""
    hidden = frozen_hidden(model, rows)
    logits = model.lm_head(hidden.states).float().split([len(row.answer) for row in rows])
    return torch.stack(
        [row_loss(lg, row, ref, config) for lg, row, ref in zip(logits, rows, references, strict=True)]
    )


@torch.no_grad()
def log_probs(model: PreTrainedModel, rows: Sequence[Row]) -> list[Tensor]:
    """Return the model's log-probabilities at each row's answer, fp16 [T, V]."""
    hidden = frozen_hidden(model, rows)
    parts = hidden.states.split([len(row.answer) for row in rows])
    return [F.log_softmax(model.lm_head(part).float(), -1).half() for part in parts]
