"""The file of a trainer's state beside a version: moments, remainders and counters (safetensors).

Weight and remainder together are one fp32 number, of which the weight is the upper half, rounded: the
remainder is stored as the signed distance of the lower half, 16 bits for 32. A distance of exactly half a
unit, which rounds to even on either side, takes a place in a list. Where that does not give back every bit,
the remainder is stored as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.trainer import TrainerState
from learner.versioning.files import Damaged, publish, sha256_of

SUFFIX = ".trainer"
_NUMBERS = "numbers"
_WHOLE, _LOWER, _HALVES = "remainder/", "lower/", "halves/"
_HALF = 1 << 15

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Saved:
    """A written state, and the milliseconds that it took."""

    file: str
    sha256: str
    bytes: int
    save_ms: float


def write(path: Path, state: TrainerState, read: Read) -> Saved:
    """Write the state of a trainer whose weights `read` gives. Durable on return."""
    began = time.monotonic()
    tensors: dict[str, Tensor] = {}
    for key, value in state.tensors.items():
        name = key.removeprefix(_WHOLE)
        tensors |= {key: value.contiguous()} if name == key else _halved(name, value.cpu(), read(name).cpu())
    partial = path.with_suffix(f"{SUFFIX}.partial")
    save_file(tensors, partial, metadata={_NUMBERS: json.dumps(state.numbers)})
    sha256, size = sha256_of(partial), partial.stat().st_size
    publish(partial, path)
    return Saved(path.name, sha256, size, (time.monotonic() - began) * 1000)


def load(path: Path, read: Read) -> TrainerState:
    """Read a state; `read` gives the weights as they were. Raises Damaged where the file is none."""
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            numbers = json.loads((file.metadata() or {})[_NUMBERS])
            keys = set(file.keys())
            for key in sorted(keys):
                if key.startswith(_LOWER):
                    name = key.removeprefix(_LOWER)
                    halves = file.get_tensor(_HALVES + name) if _HALVES + name in keys else None
                    tensors[_WHOLE + name] = _whole(file.get_tensor(key), halves, read(name).cpu())
                elif not key.startswith(_HALVES):
                    tensors[key] = file.get_tensor(key)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"trainer state {path.name} is damaged: {error}") from error
    return TrainerState(tensors, numbers)


def _halved(name: str, remainder: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Return what a remainder is stored as."""
    live = weight.float()
    exact = live + remainder
    distance = exact.view(torch.int32) - live.view(torch.int32)
    fits = bool(((distance >= -_HALF) & (distance <= _HALF)).all())
    if not fits or not torch.equal((exact - live).view(torch.int32), remainder.view(torch.int32)):
        return {_WHOLE + name: remainder.contiguous()}
    halves = (distance.view(-1) == _HALF).nonzero().view(-1)
    stored = {_LOWER + name: distance.to(torch.int16)}  # +half wraps to -half: the list tells them apart
    return stored | ({_HALVES + name: halves} if len(halves) else {})


def _whole(lower: Tensor, halves: Tensor | None, weight: Tensor) -> Tensor:
    distance = lower.to(torch.int32)
    if halves is not None:
        distance.view(-1)[halves] = _HALF
    live = weight.float()
    return (live.view(torch.int32) + distance).view(torch.float32) - live
