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

Vectors, convolutions and matrices with a side too small to project use Adam's own moments. There is no
weight decay: replay is the regulariser.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policies.errors import ConfigError

_MIN_SIDE = 32
"""A matrix with a shorter side keeps plain Adam moments: they cost next to nothing."""
_NO_REFERENCE = 1e-3
"""A step whose RMS is below this share of an Adam step is no reference for the limiter."""


@dataclass
class _Moments:
    """State of one tensor. `first` and `second` are fp32, in the subspace where there is a projection."""

    first: Tensor
    second: Tensor
    step: int = 0
    norm: float = 0.0


class Apollo:
    """The optimizer over named tensors. It computes steps; the caller applies them to its kind of weight.

    `rank` None means min(256, n // 4) per tensor; 1 means one factor a tensor (Apollo-Mini). `scale`
    replaces alpha (the paper: 1, and sqrt(128) for Mini). `keep_projections` trades r * n floats a
    tensor for not drawing them at each step.
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
        keep_projections: bool = True,
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.growth, self.refresh, self.seed, self.scale = growth, refresh, seed, scale
        self._keep = keep_projections
        self._kept: dict[str, tuple[int, Tensor]] = {}
        self._ranks: dict[str, int | None] = {n: _rank_of(p, rank) for n, p in named_parameters.items()}
        self._state = {n: self._fresh(p, self._ranks[n]) for n, p in named_parameters.items()}

    @staticmethod
    def _fresh(weight: Tensor, rank: int | None) -> _Moments:
        shape = tuple(weight.shape)
        if rank is not None:
            shape = (shape[0], rank) if shape[0] >= shape[1] else (rank, shape[1])
        zeros = torch.zeros(shape, dtype=torch.float32, device=weight.device)
        return _Moments(zeros, zeros.clone())

    @torch.no_grad()
    def update(self, name: str, grad: Tensor, lr: float | None = None) -> Tensor:
        """Return the fp32 step of one tensor, to be ADDED to it. An fp32 `grad` is overwritten by it.

        Usable from a post-accumulate-grad hook: it touches nothing but the state of `name`. A bf16
        gradient is projected in bf16, which costs a ratio of norms nothing.
        """
        state, rank = self._state[name], self._ranks[name]
        lr = self.lr if lr is None else lr
        if rank is None:
            state.step += 1
            return self._adam(state, grad.float()).mul_(-lr)
        projection = self._projection(name, grad, rank, state.step)
        state.step += 1
        wide = grad.shape[0] >= grad.shape[1]
        small = (grad @ projection.T if wide else projection @ grad).float()
        grad = grad.float()
        if rank == 1:
            return self._tensor_wise(state, grad, small).mul_(-lr)
        return self._channel_wise(state, grad, small, 1 if wide else 0, lr)

    def _channel_wise(self, state: _Moments, grad: Tensor, small: Tensor, dim: int, lr: float) -> Tensor:
        alpha = self._alpha(grad, small.shape[dim])
        before = torch.linalg.vector_norm(small, dim=dim, keepdim=True)
        after = torch.linalg.vector_norm(self._adam(state, small), dim=dim, keepdim=True)
        factor = torch.where(before > 0, after / before, 0.0).mul_(alpha)
        norm = torch.linalg.vector_norm(torch.linalg.vector_norm(grad, dim=dim, keepdim=True) * factor)
        return grad.mul_(factor.mul_(-lr * self._limit(state, norm.item(), alpha, grad, small.shape[dim])))

    def _tensor_wise(self, state: _Moments, grad: Tensor, small: Tensor) -> Tensor:
        alpha = self._alpha(grad, 1)
        before, after = small.norm().item(), self._adam(state, small).norm().item()
        factor = alpha * after / before if before > 0 else 0.0
        return grad.mul_(factor * self._limit(state, grad.norm().item() * factor, alpha, grad, 1))

    def _adam(self, state: _Moments, value: Tensor) -> Tensor:
        """Take `value` into the moments; return the bias-corrected m / (sqrt(v) + eps)."""
        beta1, beta2 = self.betas
        state.first.lerp_(value, 1 - beta1)
        state.second.mul_(beta2).addcmul_(value, value, value=1 - beta2)
        spread = (state.second / (1 - beta2**state.step)).sqrt_().add_(self.eps)
        return (state.first / (1 - beta1**state.step)).div_(spread)

    def _alpha(self, grad: Tensor, rank: int) -> float:
        return math.sqrt(min(grad.shape) / rank) if self.scale is None else self.scale

    def _limit(self, state: _Moments, norm: float, alpha: float, grad: Tensor, rank: int) -> float:
        """Return the factor that keeps a step norm within `growth` times the one before; remember it."""
        full = math.sqrt(grad.numel()) * alpha / math.sqrt(min(grad.shape) / rank)
        limit = self.growth * state.norm
        factor = limit / norm if state.norm > _NO_REFERENCE * full and norm > limit else 1.0
        state.norm = norm * factor
        return factor

    def _projection(self, name: str, grad: Tensor, rank: int, step: int) -> Tensor:
        """Return P, [rank, n] with entries N(0, 1 / rank)."""
        epoch = step // self.refresh
        kept = self._kept.get(name)
        if kept is not None and kept[0] == epoch:
            return kept[1]
        digest = hashlib.blake2b(f"{self.seed}/{name}/{epoch}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        drawn = torch.randn(rank, min(grad.shape), generator=generator).div_(math.sqrt(rank))
        drawn = drawn.to(grad.device, grad.dtype)
        if self._keep:
            self._kept[name] = (epoch, drawn)
        return drawn

    def reset(self) -> None:
        """Forget all moments, as after a rollback of the weights."""
        for state in self._state.values():
            state.first.zero_()
            state.second.zero_()
            state.step, state.norm = 0, 0.0

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return a copy of plain tensors and numbers: loads with `weights_only=True`."""
        return {
            name: {"first": s.first.clone(), "second": s.second.clone(), "step": s.step, "norm": s.norm}
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
            state.step, state.norm = int(entry["step"]), float(entry["norm"])


def _rank_of(weight: Tensor, rank: int | None) -> int | None:
    """Return the rank of a tensor's subspace; None where it keeps plain Adam moments."""
    if weight.ndim != 2 or min(weight.shape) < _MIN_SIDE:
        return None
    side = min(weight.shape)
    chosen = min(256, side // 4) if rank is None else rank
    return chosen if chosen < side else None
