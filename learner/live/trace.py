"""The map from Hugging Face names to the server's tensors, traced from vLLM's own loading: nothing is
written by hand.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from learner.live.manifest import Run

_COPY = torch.ops.aten.copy_.default
_FILLS = (torch.ops.aten.fill_.Scalar, torch.ops.aten.fill_.Tensor, torch.ops.aten.zero_.default)


class LoadTrace(TorchDispatchMode):
    """While vLLM loads: notes which elements of which checkpoint tensor land where in which parameter.

    `lost` names parameters that were changed by anything but a plain copy of a run of a checkpoint tensor.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.sources: dict[str, Tensor] = {}
        self.runs: dict[str, list[Run]] = {}
        self.lost: list[str] = []
        spans = sorted((p.data_ptr(), p.data_ptr() + p.nbytes, name) for name, p in parameters.items())
        self._low, self._spans = [s[0] for s in spans], spans

    def watch(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Pass the checkpoint's tensors through and remember them (alive: an address must not be used
        twice).
        """
        for name, tensor in weights:
            self.sources[name] = tensor
            yield name, tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.is_mutable and args and isinstance(args[0], Tensor) and func not in _FILLS:
            target = self._parameter(args[0])
            if target is not None:
                self._note(target, args[0], args[1] if func is _COPY else None)
        return result

    def _note(self, target: str, into: Tensor, source: Any) -> None:
        name = self._source(source) if isinstance(source, Tensor) else None
        pattern = _pattern(source) if name is not None and into.is_contiguous() else None
        if name is None or pattern is None or source.shape != into.shape:
            self.lost.append(target)
            return
        low = self._spans[bisect_right(self._low, into.data_ptr()) - 1][0]
        count, repeat, step = pattern
        run = Run(
            tensor=target,
            source=(source.data_ptr() - self.sources[name].data_ptr()) // source.element_size(),
            start=(into.data_ptr() - low) // into.element_size(),
            count=count,
            repeat=repeat,
            step=step,
        )
        self.runs.setdefault(name, []).append(run)

    def _parameter(self, tensor: Tensor) -> str | None:
        at = bisect_right(self._low, tensor.data_ptr()) - 1
        if at < 0 or tensor.numel() == 0 or tensor.data_ptr() >= self._spans[at][1]:
            return None
        return self._spans[at][2]

    def _source(self, tensor: Tensor) -> str | None:
        for name in reversed(self.sources):  # the newest is the likely one
            low = self.sources[name].data_ptr()
            if low <= tensor.data_ptr() < low + self.sources[name].nbytes:
                return name
        return None


def _pattern(tensor: Tensor) -> tuple[int, int, int] | None:
    """(count, repeat, step) of the memory that a tensor covers in order: one run, or runs of equal length and
    distance (a slice of columns). None for anything else.
    """
    if tensor.is_contiguous():
        return tensor.numel(), 1, 0
    row = tensor[0]
    if row.is_contiguous() and tensor.stride(0) >= row.numel():
        return row.numel(), tensor.shape[0], tensor.stride(0)
    return None


def joined(runs: list[Run]) -> tuple[Run, ...]:
    """Runs in order of the parameter, neighbours that follow each other on both sides made one."""
    whole: list[Run] = []
    for run in sorted(runs, key=lambda r: r.source):
        last = whole[-1] if whole else None
        follows = (
            last is not None
            and last.tensor == run.tensor
            and last.repeat == run.repeat == 1
            and (last.source + last.count == run.source and last.start + last.count == run.start)
        )
        if last is not None and follows:
            whole[-1] = last.model_copy(update={"count": last.count + run.count})
        else:
            whole.append(run)
    return tuple(whole)


def covered(runs: Iterable[Run]) -> dict[str, int | None]:
    """For each tensor, how many elements from its start on the runs fill exactly once; None with gaps or
    overlaps.
    """
    filled: dict[str, int | None] = {}
    for run in sorted(runs, key=lambda r: (r.tensor, r.start)):
        so_far = filled.get(run.tensor, 0)
        filled[run.tensor] = so_far + run.elements if so_far == run.start else None
    return filled


def whole(runs: Sequence[Run], elements: int) -> bool:
    """Whether the runs, of all ranks together, hold every one of a parameter's `elements`."""
    starts = [torch.arange(run.repeat) * run.step + run.source for run in runs]
    ends = [start + run.count for start, run in zip(starts, runs, strict=True)]
    low, order = torch.cat(starts).sort()
    high = torch.cat(ends)[order].cummax(0).values
    return bool(low[0] == 0 and high[-1] == elements and (low[1:] <= high[:-1]).all())
