"""What the checks of `doctor --model` say when something is wrong. Real models pass them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from learner.live.client import LiveWeights
from learner.live.inspection import Check, Rows, inspect
from learner.live.manifest import Manifest
from learner.reference import Reference

PROMPT = (1, 2, 3)


@pytest.fixture
def live(arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path) -> Iterator[LiveWeights]:
    arena_of(owner.process.pid)
    attached = LiveWeights.attach(tmp_path / "arena")
    with attached.publishing("base", 0):
        for name in attached.names:
            attached.write(name, torch.randn(attached.shape(name)))
    yield attached
    attached.close()


@pytest.fixture
def checkpoint(live: LiveWeights, tmp_path: Path) -> Path:
    save_file({name: live.read(name) for name in live.names}, tmp_path / "model.safetensors")
    return tmp_path


def reference(shapes: dict[str, tuple[int, ...]]) -> Reference:
    likely = torch.tensor([[8.0, 1.0, 0.0, 0.0], [0.0, 8.0, 1.0, 0.0]]).log_softmax(-1)
    return Reference(PROMPT, likely, 0.01, shapes)


def server(live: LiveWeights, *, deaf_to: str = "", wrong: float = 0.0) -> Callable[[Sequence[int]], Rows]:
    """Answers as the reference, a little otherwise for other weights; it never reads the weight `deaf_to`."""

    def ask(_: Sequence[int]) -> Rows:
        heard = sum(float(live.read(name).double().sum()) for name in live.names if name != deaf_to)
        steered = float(live.steering().double().abs().sum()) if deaf_to != "steering" else 0.0
        moved = torch.tensor([wrong, -wrong, heard * 1e-6, steered * 1e-3])
        rows = reference({}).log_probs + moved
        return [dict(enumerate(row)) for row in rows.tolist()]

    return ask


def checks(live: LiveWeights, checkpoint: Path, shapes: dict[str, Any], **flaw: Any) -> dict[str, Check]:
    before = live.fingerprint()
    found = {c.name: c for c in inspect(live, checkpoint, server(live, **flaw), reference(shapes))}
    assert live.fingerprint() == before
    return found


def failed(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if not check.passed}


def test_what_holds_passes(live: LiveWeights, checkpoint: Path) -> None:
    shapes = {name: live.shape(name) for name in live.names}
    assert failed(checks(live, checkpoint, shapes)) == set()


def test_a_parameter_without_a_live_tensor_fails_the_map(live: LiveWeights, checkpoint: Path) -> None:
    found = checks(live, checkpoint, {"head.weight": (70, 64), "bias": (3,)})
    assert failed(found) == {"map"}
    assert "1 of 2 parameters are not live, such as bias" in found["map"].detail


def test_values_of_another_version_are_told(live: LiveWeights, checkpoint: Path) -> None:
    with live.publishing("v", 1):
        live.write("k.weight", live.read("k.weight") * 2)
    found = checks(live, checkpoint, {})
    assert failed(found) == {"values"}
    assert "k.weight" in found["values"].detail


def test_a_weight_that_the_server_copied_is_told(live: LiveWeights, checkpoint: Path) -> None:
    found = checks(live, checkpoint, {}, deaf_to="conv.weight")
    assert failed(found) == {"seen"}
    assert "conv.weight" in found["seen"].detail


def test_a_server_that_computes_otherwise_is_told(live: LiveWeights, checkpoint: Path) -> None:
    found = checks(live, checkpoint, {}, wrong=-5.0)
    assert failed(found) == {"logits"}
    assert "same best token at 1 of 2" in found["logits"].detail


def test_a_server_that_takes_no_steering_is_told(live: LiveWeights, checkpoint: Path) -> None:
    found = checks(live, checkpoint, {}, deaf_to="steering")
    assert failed(found) == {"steering"}
    assert "each of 0 of 2 layers" in found["steering"].detail
