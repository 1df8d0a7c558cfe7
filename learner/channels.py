"""What Apollo needs of the channels of a gradient: their squares, their moments, a factor for each.

A channel is a row where a matrix has at least as many rows as columns, else a column. On a CPU it is one pass
of machine code (`learner.kernels`) each; the same in torch is for other devices and for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner import kernels
from learner.rounding import apply_with_remainder

Ages = tuple[int, int]
"""How many values the first and the second moments have seen since they were zero."""


@dataclass(frozen=True)
class Step:
    """What is to be added to a tensor: `gradient * factor`, or `gradient` as it is.

    The factor is one for each row [a, 1], for each column [1, b], or for all [1, 1].
    """

    gradient: Tensor
    factor: Tensor | None = None

    def dense(self) -> Tensor:
        """Return it as one fp32 tensor; an fp32 gradient is overwritten by it."""
        gradient = self.gradient.float()
        return gradient if self.factor is None else gradient.mul_(self.factor)


def channels_are_rows(matrix: Tensor) -> bool:
    """Tell whether the rows of `matrix` are its channels."""
    return matrix.shape[0] >= matrix.shape[1]


def squares(matrix: Tensor, rows: bool) -> Tensor:
    """Return the fp32 sum of squares of each channel of an fp32 or bf16 matrix."""
    if not _has_kernel(matrix):
        return torch.linalg.vector_norm(matrix, dim=int(rows), dtype=torch.float32).square()
    found = torch.empty(matrix.shape[0 if rows else 1])
    take = kernels.squares_of_rows if rows else kernels.squares_of_columns
    take(_array(matrix), found.numpy())
    return found


def adam_ratio(
    small: Tensor,
    first: Tensor,
    second: Tensor,
    betas: tuple[float, float],
    eps: float,
    ages: Ages,
    rows: bool,
) -> Tensor:
    """Take the fp32 `small` into Adam's moments; return |Adam's step| / |small| of each channel."""
    if not _has_kernel(small):
        return adam_ratio_in_torch(small, first, second, betas, eps, ages, rows)
    ratio = torch.empty(small.shape[0 if rows else 1])
    scales = np.array([*corrections(betas, ages), eps], np.float32)
    take = kernels.moments_of_rows if rows else kernels.moments_of_columns
    take(*(t.numpy() for t in (small, first, second)), np.array(betas, np.float32), scales, ratio.numpy())
    return ratio


def adam_ratio_in_torch(
    small: Tensor,
    first: Tensor,
    second: Tensor,
    betas: tuple[float, float],
    eps: float,
    ages: Ages,
    rows: bool,
) -> Tensor:
    """`adam_ratio` in plain torch operations, on any device."""
    before = torch.linalg.vector_norm(small, dim=int(rows))
    after = torch.linalg.vector_norm(adam(small, first, second, betas, eps, ages), dim=int(rows))
    return torch.where(before > 0, after / before, 0.0)


def adam(
    value: Tensor, first: Tensor, second: Tensor, betas: tuple[float, float], eps: float, ages: Ages
) -> Tensor:
    """Take `value` into Adam's moments; return the bias-corrected m / (sqrt(v) + eps)."""
    first.lerp_(value, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(value, value, value=1 - betas[1])
    scale, spread = corrections(betas, ages)
    return (first * scale).div_((second * spread).sqrt_().add_(eps))


def corrections(betas: tuple[float, float], ages: Ages) -> tuple[float, float]:
    """Return what undoes the start of both moments at zero."""
    return 1 / (1 - betas[0] ** ages[0]), 1 / (1 - betas[1] ** ages[1])


def add_with_remainder(weight: Tensor, remainder: Tensor, step: Step) -> int:
    """Add a step to a weight, as `apply_with_remainder` does an update. Returns how many values changed."""
    gradient, factor = step.gradient, step.factor
    fits = weight.dtype == torch.bfloat16 and all(map(_has_kernel, (weight, remainder, gradient)))
    if factor is None or not fits:
        return apply_with_remainder(weight, remainder, step.dense())
    none = np.empty(0, np.float32)
    by_row = factor.shape[1] == 1
    flat = factor.reshape(-1).expand(gradient.shape[0 if by_row else 1]).contiguous().numpy()
    rows, columns = (flat, none) if by_row else (none, flat)
    return int(
        kernels.scaled_with_remainder(_array(weight), remainder.numpy(), _array(gradient), rows, columns)
    )


def limited(
    squares: Tensor, ratio: Tensor, before: Tensor, growth: float, least: float, rate: float
) -> Tensor:
    """Return the factors of a step: `ratio * -rate`, shortened so that it grows by at most `growth`.

    `squares` of the channels and `ratio` (one each, or a scalar) give its length without the rate. `before`,
    a scalar tensor, is that of the last step and becomes that of this one; at most `least`, it binds nothing.
    """
    if not all(map(_on_cpu, (squares, ratio, before))):
        return limited_in_torch(squares, ratio, before, growth, least, rate)
    factors = torch.empty_like(ratio)
    arrays = (squares.numpy(), ratio.reshape(-1).numpy(), before.reshape(1).numpy())
    kernels.limited(*arrays, growth, least, rate, factors.reshape(-1).numpy())
    return factors


def limited_in_torch(
    squares: Tensor, ratio: Tensor, before: Tensor, growth: float, least: float, rate: float
) -> Tensor:
    """`limited` in plain torch operations, on any device."""
    norm = (squares * ratio.square()).sum().sqrt()
    bound = growth * before
    shortened = torch.where((before > least) & (norm > bound), bound / norm, 1.0)
    before.copy_(norm * shortened)
    return ratio * (shortened * -rate)


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous()


def _has_kernel(tensor: Tensor) -> bool:
    dense = tensor.dtype in (torch.float32, torch.bfloat16) and tensor.is_contiguous()
    return tensor.device.type == "cpu" and tensor.ndim == 2 and dense


def _array(tensor: Tensor) -> NDArray[Any]:
    """The same memory; a bf16 is 16 bits."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()
