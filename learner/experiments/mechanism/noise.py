"""Flatness: how much the loss on what was learned rises when the weights are disturbed at random."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from learner.frozen import frozen_hidden
from learner.model import trainable
from learner.tokens import Row

_ROWS = 8


@torch.no_grad()
def row_losses(model: PreTrainedModel, rows: Sequence[Row]) -> list[float]:
    """Return the mean negative log-likelihood of each row's answer, in nats a token."""
    losses: list[float] = []
    for start in range(0, len(rows), _ROWS):
        hidden = frozen_hidden(model, rows[start : start + _ROWS])
        each = F.cross_entropy(model.lm_head(hidden.states).float(), hidden.labels, reduction="none")
        count = len(rows[start : start + _ROWS])
        losses += [float(each[hidden.row == index].mean()) for index in range(count)]
    return losses


@contextmanager
def disturbed(model: PreTrainedModel, base: PreTrainedModel, scale: float, key: str) -> Iterator[None]:
    """Add noise to all that learns: of `scale` times the base's RMS in each tensor, the same for each `key`.

    Afterwards the weights are what they were, bit for bit.
    """
    sizes = dict(base.named_parameters())
    kept: dict[str, Tensor] = {}
    try:
        for name, parameter in trainable(model).items():
            kept[name] = parameter.detach().clone()
            size = float(sizes[name].detach().float().square().mean().sqrt())
            parameter.data.add_(_normal(parameter, f"{key}/{name}").mul_(scale * size).to(parameter.dtype))
        yield
    finally:
        for name, value in kept.items():
            model.get_parameter(name).data.copy_(value)


def _normal(like: Tensor, key: str) -> Tensor:
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.device)


def rises(
    model: PreTrainedModel,
    base: PreTrainedModel,
    rows: Sequence[Row],
    scales: Sequence[float],
    draws: int,
) -> dict[str, object]:
    """Return the loss of each row undisturbed, and by scale its rise in each draw, [draws][rows]."""
    plain = row_losses(model, rows)
    found: dict[str, list[list[float]]] = {}
    for scale in scales:
        for draw in range(draws):
            with disturbed(model, base, scale, str(draw)):
                now = row_losses(model, rows)
            rise = [after - before for after, before in zip(now, plain, strict=True)]
            found.setdefault(f"{scale:g}", []).append(rise)
    return {"losses": plain, "rises": found}
