"""The new values of live weights when a vector is added: one tensor after the other, in place of a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from learner.rounding import noise_key, stochastic_round
from learner.vectors.blocks import Deltas, Shape, spans
from learner.vectors.file import require_finite
from policies.errors import InputError


def added(
    values: Iterable[tuple[str, Tensor]], deltas: Deltas, scale: float, seed: str
) -> Iterator[tuple[str, Tensor]]:
    """Yield each of `values` plus `scale` times its change, in the same memory and type.

    A sum that bf16 holds is exact; another is rounded by chance (`seed` and the place decide), so that small
    changes of a scaled vector survive on average. Raises InputError where a result is not finite, or the
    vector has another shape.
    """
    for name, value in values:
        shape = tuple(value.shape)
        require_shape(deltas, name, shape)
        flat = value if value.ndim else value.view(1)
        for start, stop in spans(shape):
            change = deltas.rows(name, start, stop).view(flat[start:stop].shape).to(value.device)
            result = flat[start:stop].float().add_(change, alpha=scale)
            require_finite(result, name, start, f"the vector times {scale:g}")
            if value.dtype == torch.bfloat16:
                result = stochastic_round(result, noise_key(0, f"{seed}/{name}", start))
            flat[start:stop].copy_(result)
        yield name, value


def require_shape(deltas: Deltas, name: str, shape: Shape) -> None:
    """Raises InputError where a vector's tensor is not of the model's shape."""
    if deltas.shapes[name] != shape:
        raise InputError(f"{name}: the vector has shape {deltas.shapes[name]}, the model {shape}")


def without(
    live: Iterable[tuple[str, Tensor]],
    after: Iterable[tuple[str, Tensor]],
    before: Iterable[tuple[str, Tensor]],
) -> Iterator[tuple[str, Tensor]]:
    """Yield live values minus what changed from `before` to `after`, in the memory of the live ones.

    A value that is still the one of `after` becomes that of `before` again, bit for bit. The three name the
    same tensors in the same order.
    """
    for (name, value), (_, changed), (_, first) in zip(live, after, before, strict=True):
        flat, new, old = (t if t.ndim else t.view(1) for t in (value, changed, first))
        for start, stop in spans(tuple(flat.shape)):
            now, then, was = (t[start:stop].to(value.device).float() for t in (flat, new, old))
            result = torch.where(now == then, was, now - (then - was))
            require_finite(result, name, start, "the weights without that version")
            flat[start:stop].copy_(result)
        yield name, value
