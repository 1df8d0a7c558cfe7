"""Two ranks of one server: rows and columns of each parameter spread over two arenas, written as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.live.arena import Arena, place
from learner.live.client import LiveWeights
from learner.live.control import PAGE, ControlPage
from learner.live.manifest import Checkpoint, Manifest, Run, TensorEntry, read_manifests, write_manifest
from learner.live.tensors import LiveTensors
from learner.live.trace import LoadTrace, joined, whole
from policies.errors import Unreachable

SHAPES = {"up": (128, 64), "down": (64, 128), "norm": (64,)}


def load(weights: dict[str, torch.Tensor], rank: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Shard as vLLM does: rows of `up`, columns of `down`, the whole `norm`."""
    own = {
        name: torch.zeros(shape) for name, shape in {"up": (64, 64), "down": (64, 64), "norm": (64,)}.items()
    }
    trace = LoadTrace(own)
    with trace:
        for name, weight in trace.watch(weights.items()):
            dimension = {"up.weight": 0, "down.weight": 1}.get(name)
            part = weight if dimension is None else weight.narrow(dimension, rank * 64, 64)
            own[name.partition(".")[0]].copy_(part)
    assert trace.lost == []
    return {name: joined(runs) for name, runs in trace.runs.items()}, own


@pytest.fixture
def two_ranks(arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path) -> dict[str, torch.Tensor]:
    """An arena a rank, `up` and `down` packed; returns the parameters that were loaded."""
    template = arena_of(owner.process.pid)  # rank 0 is overwritten below, its generation stays
    weights = {f"{n}.weight": torch.randn(shape).bfloat16().float() for n, shape in SHAPES.items()}
    for rank in (1, 0):
        runs, own = load(weights, rank)
        entries = {
            name: TensorEntry(
                offset=0,
                shape=tuple(tensor.shape),
                dtype="bfloat16",
                layout="plain" if name == "norm" else "vnni32",
            )
            for name, tensor in own.items()
        }
        tensors, nbytes = place(entries, {n: t.numel() * 2 for n, t in own.items()}, PAGE)
        checkpoint = {n: Checkpoint(shape=tuple(w.shape), dtype="bfloat16") for n, w in weights.items()}
        arena = Arena.create(tmp_path / "arena", nbytes, rank)
        ControlPage(memoryview(arena.map)).format(template.generation, "base", 0)
        fields = {"rank": rank, "ranks": 2, "nbytes": nbytes, "tensors": tensors, "hf": runs}
        write_manifest(tmp_path / "arena", template.model_copy(update=fields | {"checkpoint": checkpoint}))
    return weights


def test_a_parameter_is_written_to_every_rank_and_read_as_one(
    two_ranks: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    live = LiveWeights.attach(tmp_path / "arena")
    assert live.ranks == 2
    assert set(live.names) == set(two_ranks)
    empty = live.fingerprint()
    with live.publishing("v", 1):
        for name, value in two_ranks.items():
            live.write(name, value)
    for name, value in two_ranks.items():
        assert torch.equal(live.read(name).float(), value), name
        assert live.view(name) is None, name
    for rank, shard in enumerate(live._tensors.shards):
        _, own = load(two_ranks, rank)
        for name, runs in shard.hf.items():
            expected = own[name.partition(".")[0]].flatten()
            assert torch.equal(shard.read(runs[0]).float(), expected), (rank, name)
    with live.publishing("base", 0):
        for name, value in two_ranks.items():
            live.write(name, torch.zeros_like(value))
    assert live.fingerprint() == empty


def test_a_rank_that_starts_on_a_version_writes_its_own_part_only(
    two_ranks: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    manifests = read_manifests(tmp_path / "arena")
    parts = [(manifest, Arena.open(tmp_path / "arena", manifest)) for manifest in manifests]
    for part in parts:
        alone = LiveTensors([part])
        for name, value in two_ranks.items():
            assert alone.shape(name) == tuple(value.shape)
            alone.write(name, value)
    together = LiveTensors(parts)
    assert all(torch.equal(together.read(name).float(), value) for name, value in two_ranks.items())


def test_the_death_of_any_rank_is_noticed(
    two_ranks: dict[str, torch.Tensor], owner: Any, tmp_path: Path
) -> None:
    live = LiveWeights.attach(tmp_path / "arena")
    assert live.is_current()
    second = live._parts[1][0].model_copy(update={"started": 1})
    live._parts[1] = (second, live._parts[1][1])  # type: ignore[index]
    assert not live.is_current()
    with pytest.raises(Unreachable, match="is gone"), live.publishing("v", 1):
        pass


def test_columns_of_all_ranks_make_the_whole() -> None:
    left = Run(tensor="t", source=0, start=0, count=3, repeat=4, step=6)
    right = left.model_copy(update={"source": 3})
    assert left.elements == 12
    assert whole([left, right], 24)
    assert whole([left, right, right], 24)  # kept by two ranks
    assert not whole([left], 24)
    assert not whole([left, right.model_copy(update={"source": 4, "count": 2})], 24)
    assert not whole([left, right], 25)
