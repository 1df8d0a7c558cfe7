"""What applying a vector holds at once, counted allocation by allocation, against the largest tensor."""

from __future__ import annotations

import os
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_system import make_model, serve
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from learner.live.client import LiveWeights
from learner.vectors.application import added, without
from learner.vectors.blocks import ELEMENTS, spans
from learner.vectors.file import VectorFile, write_vector

EMBEDDING, UP = "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"
SCRATCH = 8 * 4 * ELEMENTS
"""A few blocks of fp32: what is held whatever the model's size."""


class Meter(TorchDispatchMode):
    """Counts the bytes of living tensors made inside it, and of numpy and Python objects; knows the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors = self.peak = 0

    def __enter__(self) -> Meter:
        tracemalloc.start()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        tracemalloc.stop()

    def __torch_dispatch__(self, call: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        inside = {t.untyped_storage().data_ptr() for t in tree_leaves((arguments, named)) if _is(t)}
        result = call(*arguments, **(named or {}))
        for tensor in filter(_is, tree_leaves(result)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in inside:
                self._made(storage)
        self.peak = max(self.peak, self.tensors + tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
        return result

    def _made(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.tensors += size
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.tensors -= size


def _is(value: object) -> bool:
    return isinstance(value, torch.Tensor)


@pytest.fixture
def live(smollm2_path: Path, tmp_path: Path) -> Iterator[LiveWeights]:
    """The weights of a tiny model with a vocabulary of 49,152 in an arena: its embedding is nearly all."""
    serve(tmp_path, make_model(tmp_path / "model", smollm2_path), os.getpid())
    attached = LiveWeights.attach(tmp_path / "arena")
    yield attached
    attached.close()


def test_the_meter_sees_what_lives_at_once() -> None:
    with Meter() as meter:
        for _ in range(3):
            one = torch.zeros(250_000) + 1
            del one
    assert 2_000_000 <= meter.peak < 2_500_000


def test_adding_and_subtracting_hold_less_than_twice_the_largest_tensor(
    live: LiveWeights, tmp_path: Path
) -> None:
    shapes = {name: live.shape(name) for name in (EMBEDDING, UP)}
    drawn = torch.Generator().manual_seed(0)
    changes = (
        (name, start, stop, torch.randn(stop - start, shape[1], generator=drawn) * 1e-3)
        for name, shape in shapes.items()
        for start, stop in spans(shape)
    )
    write_vector(tmp_path / "v.safetensors", shapes, changes, model_hash="h", recipe="drawn")
    vector, before = VectorFile(tmp_path / "v.safetensors"), {name: live.read(name) for name in shapes}
    largest = max(value.nbytes for value in before.values())
    copies = lambda: ((name, live.read(name)) for name in shapes)  # noqa: E731
    list(added([(UP, live.read(UP))], vector, 0.7, "s"))  # what is imported and compiled once is not counted
    with Meter() as adding, live.publishing("v", 0):
        for name, value in added(copies(), vector, 0.7, "s"):
            live.write(name, value)
            del value
    after = {name: live.read(name) for name in shapes}
    assert all(not torch.equal(after[name], before[name]) for name in shapes)
    with Meter() as subtracting, live.publishing("w", 0):
        for name, value in without(copies(), iter(after.items()), iter(before.items())):
            live.write(name, value)
            del value
    assert all(torch.equal(live.read(name), before[name]) for name in shapes)
    print(f"largest {largest}, adding {adding.peak}, subtracting {subtracting.peak}")
    assert largest < adding.peak < largest + SCRATCH
    assert largest < subtracting.peak < largest + SCRATCH
