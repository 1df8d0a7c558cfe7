"""Apollo: Adam-like steps from moments in a small random subspace (arXiv 2412.05270).

The gradient G of a matrix is projected to rank r; Adam's moments live there. How much Adam would have
stretched each channel in the subspace is applied to the channel of G itself. Written from the paper.
What the paper leaves open is settled so that a learning rate means the same as with Adam:

- alpha = sqrt(n / r) by default, n being the projected side: a channel of the subspace has norm sqrt(r)
  where Adam's has sqrt(n).
- moments are bias-corrected BEFORE the norm-growth limiter, else the limiter mistakes Adam's start for
  growth and halves the first twenty steps.
- a (near) zero reference norm does not bind the limiter, else one masked batch freezes a tensor.
- moments are fp32: in bf16, v * 0.999 rounds back to v.
- the projection is a function of (seed, parameter name, step // refresh), drawn on the CPU: it is not
  part of the state and the same on every device.

- at a refresh the first moments are forgotten and corrected for bias anew: they are coordinates of another
  basis. The second ones are kept: the coordinates of a random basis are exchangeable, so the spread of a
  channel stays what it was. Measured on a small language model against keeping both, forgetting both, and
  rotating both into the new subspace.

Vectors, convolutions, matrices with a side too small to project, and embeddings use Adam's own moments: the
first have nothing to project, and most rows of an embedding have no gradient in a batch, so a norm over the
channel says nothing of the step that a row needs. There is no weight decay: replay is the regulariser.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.channels import Step, adam, adam_ratio, channels_are_rows, limited, squares
from policies.errors import ConfigError

_MIN_SIDE = 32
"""A matrix with a shorter side keeps plain Adam moments: they cost next to nothing."""
_NO_REFERENCE = 1e-3
"""A step whose RMS is below this share of an Adam step is no reference for the limiter."""


@dataclass
class _Moments:
    """State of one tensor. `first` and `second` are fp32, in the subspace where there is a projection.

    `norm` is the length of the last step without its learning rate, a scalar tensor.
    """

    first: Tensor
    second: Tensor
    norm: Tensor
    step: int = 0


class Apollo:
    """The optimizer over named tensors. It computes steps; the caller applies them to its kind of weight.

    `rank` None means min(256, n // 4) per tensor; 1 means one factor a tensor (Apollo-Mini). `scale`
    replaces alpha (the paper: 1, and sqrt(128) for Mini). Tensors named in `plain` are not projected.
    `keep_projections` trades r * n numbers a tensor for not drawing them at each step. Projections are
    taken `in_type`, by default that of the gradient; bf16 costs a ratio of norms nothing that counts.
    """

    def __init__(
        self,
        named_parameters: Mapping[str, Tensor],
        lr: float,
        rank: int | None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        growth: float = 1.01,
        refresh: int = 200,
        seed: int = 0,
        scale: float | None = None,
        plain: Collection[str] = (),
        keep_projections: bool = True,
        in_type: torch.dtype | None = None,
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.growth, self.refresh, self.seed, self.scale = growth, refresh, seed, scale
        self._keep, self._type = keep_projections, in_type
        self._kept: dict[str, tuple[int, Tensor]] = {}
        self._ranks = {
            name: None if name in plain else _rank_of(weight, rank)
            for name, weight in named_parameters.items()
        }
        self._state = {name: _fresh(weight, self._ranks[name]) for name, weight in named_parameters.items()}

    @torch.no_grad()
    def update(self, name: str, grad: Tensor, lr: float | None = None) -> Tensor:
        """Return the fp32 step of one tensor, to be ADDED to it. An fp32 `grad` is overwritten by it."""
        return self.step(name, grad, lr).dense()

    @torch.no_grad()
    def step(self, name: str, grad: Tensor, lr: float | None = None) -> Step:
        """Return the step of one tensor as its gradient and a factor for each channel.

        Usable from a post-accumulate-grad hook: it touches nothing but the state of `name`.
        """
        state, rank = self._state[name], self._ranks[name]
        lr = self.lr if lr is None else lr
        if rank is None:
            state.step += 1
            ages = (state.step, state.step)
            direction = adam(grad.float(), state.first, state.second, self.betas, self.eps, ages)
            return Step(direction.mul_(-lr))
        rows = channels_are_rows(grad)
        small = self._small(name, state, grad, rank, rows)
        ages = (state.step % self.refresh + 1, state.step + 1)
        state.step += 1
        moments = (state.first, state.second, self.betas, self.eps, ages)
        if rank == 1:
            before = small.norm()
            ratio = torch.where(before > 0, adam(small, *moments).norm() / before, 0.0)
        else:
            ratio = adam_ratio(small, *moments, rows)
        ratio = ratio * self._alpha(grad, rank)
        least = _NO_REFERENCE * self._full_norm(grad, rank)
        factors = limited(squares(grad, rows), ratio, state.norm, self.growth, least, lr)
        return Step(grad, factors.reshape(-1, 1) if rows else factors.reshape(1, -1))

    def _small(self, name: str, state: _Moments, grad: Tensor, rank: int, rows: bool) -> Tensor:
        """Return the gradient in the subspace, fp32; a new subspace begins without first moments."""
        kind = self._type or grad.dtype
        projection = self._projection(name, grad, rank, state.step // self.refresh)
        if state.step % self.refresh == 0:
            state.first.zero_()
        grad, projection = grad.to(kind), projection.to(kind)
        return (grad @ projection.T if rows else projection @ grad).float()

    def _alpha(self, grad: Tensor, rank: int) -> float:
        return math.sqrt(min(grad.shape) / rank) if self.scale is None else self.scale

    def _full_norm(self, grad: Tensor, rank: int) -> float:
        """Return about how long an Adam step is without its learning rate, in this scale."""
        return math.sqrt(grad.numel()) * self._alpha(grad, rank) / math.sqrt(min(grad.shape) / rank)

    def _projection(self, name: str, grad: Tensor, rank: int, epoch: int) -> Tensor:
        """Return P, [rank, n] with entries N(0, 1 / rank), in the type of the products."""
        kept = self._kept.get(name)
        if kept is not None and kept[0] == epoch:
            return kept[1]
        drawn = self._drawn(name, grad, rank, epoch)
        if self._keep:
            self._kept[name] = (epoch, drawn)
        return drawn

    def _drawn(self, name: str, grad: Tensor, rank: int, epoch: int) -> Tensor:
        """Draw P on the CPU, whatever the device: from seed, name and epoch only."""
        digest = hashlib.blake2b(f"{self.seed}/{name}/{epoch}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        drawn = torch.randn(rank, min(grad.shape), generator=generator).div_(math.sqrt(rank))
        return drawn.to(grad.device, self._type or grad.dtype)

    def reset(self) -> None:
        """Forget all moments, as after a rollback of the weights."""
        for state in self._state.values():
            state.first.zero_()
            state.second.zero_()
            state.norm.zero_()
            state.step = 0

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return a copy of plain tensors and numbers: loads with `weights_only=True`."""
        return {
            name: {
                "first": s.first.clone(),
                "second": s.second.clone(),
                "norm": s.norm.clone(),
                "step": s.step,
            }
            for name, s in self._state.items()
        }

    def load_state_dict(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from `state_dict` bit for bit. Raises ConfigError if names or shapes are others."""
        if saved.keys() != self._state.keys():
            odd = sorted(saved.keys() ^ self._state.keys())[0]
            raise ConfigError(f"optimizer state does not fit the model: tensor {odd!r} is on one side only")
        for name, state in self._state.items():
            entry = saved[name]
            if entry["first"].shape != state.first.shape:
                raise ConfigError(f"optimizer state of {name!r} has another shape; was the rank changed?")
        for name, state in self._state.items():
            entry = saved[name]
            state.first.copy_(entry["first"])
            state.second.copy_(entry["second"])
            state.norm.copy_(entry["norm"])
            state.step = int(entry["step"])


def _rank_of(weight: Tensor, rank: int | None) -> int | None:
    """Return the rank of a tensor's subspace; None where it keeps plain Adam moments."""
    if weight.ndim != 2 or min(weight.shape) < _MIN_SIDE:
        return None
    side = min(weight.shape)
    chosen = min(256, side // 4) if rank is None else rank
    return chosen if chosen < side else None


def _fresh(weight: Tensor, rank: int | None) -> _Moments:
    shape = tuple(weight.shape)
    if rank is not None:
        shape = (shape[0], rank) if channels_are_rows(weight) else (rank, shape[1])
    first, second = torch.zeros(2, *shape, dtype=torch.float32, device=weight.device)
    return _Moments(first, second, torch.zeros((), device=weight.device))
