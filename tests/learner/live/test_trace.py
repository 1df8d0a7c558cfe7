"""The traced map: stacked and whole copies are found, transforms and gaps are called by name."""

from __future__ import annotations

import torch

from learner.live.manifest import Run
from learner.live.trace import LoadTrace, covered, joined


def load(
    trace: LoadTrace, weights: dict[str, torch.Tensor], stacked: torch.Tensor, norm: torch.Tensor
) -> None:
    with trace:
        for name, weight in trace.watch(weights.items()):
            if name == "q":
                stacked.narrow(0, 0, 4).copy_(weight)
            elif name == "k":
                stacked[4:6].copy_(weight[:2])
                stacked[6:8].copy_(weight[2:])
            elif name == "norm":
                norm.copy_(weight)
            elif name == "a":
                norm.copy_(-weight.exp())


def test_stacked_parts_are_runs_and_neighbours_are_joined() -> None:
    stacked, norm = torch.zeros(8, 3), torch.zeros(5)
    trace = LoadTrace({"qk": stacked, "norm": norm})
    weights = {"q": torch.rand(4, 3), "k": torch.rand(4, 3), "norm": torch.rand(5, dtype=torch.float64)}
    load(trace, weights, stacked, norm)
    assert trace.lost == []
    assert joined(trace.runs["q"]) == (Run(tensor="qk", source=0, start=0, count=12),)
    assert joined(trace.runs["k"]) == (Run(tensor="qk", source=0, start=12, count=12),)
    assert trace.runs["norm"] == [Run(tensor="norm", source=0, start=0, count=5)]
    assert covered(run for runs in trace.runs.values() for run in runs) == {"qk": 24, "norm": 5}


def test_transforms_strided_pieces_and_other_changes_are_lost() -> None:
    stacked, norm = torch.zeros(8, 3), torch.zeros(5)
    trace = LoadTrace({"qk": stacked, "norm": norm})
    load(trace, {"a": torch.rand(5)}, stacked, norm)
    assert trace.lost == ["norm"]
    with trace:
        for _, weight in trace.watch([("t", torch.rand(3, 8))]):
            stacked.copy_(weight.T)
        norm.add_(1)
        stacked.fill_(0)  # padding: not a loss
    assert trace.lost == ["norm", "qk", "norm"]


def test_gaps_and_overlaps_are_not_covered() -> None:
    first, second = Run(tensor="t", source=0, start=0, count=4), Run(tensor="t", source=0, start=5, count=4)
    assert covered([first, second]) == {"t": None}
    assert covered([first, first.model_copy(update={"start": 3})]) == {"t": None}
    assert joined([first, first.model_copy(update={"source": 4, "start": 5})])[0] == first
