"""The version that a server starts with: whole, of this model, or a sound ancestor, and never in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.live.arena import Arena
from learner.live.durable import Durable, Pointer, apply_durable, read_durable
from learner.live.manifest import Manifest
from learner.live.tensors import LiveTensors
from learner.versioning.delta_file import write_deltas
from policies.errors import ConfigError


@pytest.fixture
def live(arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path) -> LiveTensors:
    manifest = arena_of(owner.process.pid)
    return LiveTensors([(manifest, Arena.open(tmp_path / "arena", manifest))])


def save(folder: Path, version: str, tensors: dict[str, torch.Tensor]) -> Durable:
    changes = ((name, value, torch.zeros_like(value)) for name, value in tensors.items())
    stored = write_deltas(folder / f"{version}.version", changes, "h")
    return Durable(version=version, step=5, file=stored.file, sha256=stored.sha256)


def point(folder: Path, durable: Durable, *ancestors: Durable, model_hash: str = "h") -> Pointer:
    pointer = Pointer(**durable.model_dump(), model_hash=model_hash, ancestors=ancestors)
    (folder / "live.json").write_text(pointer.model_dump_json())
    return read_durable(folder)


def test_changed_tensors_are_written(live: LiveTensors, tmp_path: Path) -> None:
    value = torch.randn(40, 64).bfloat16()
    pointer = point(tmp_path, save(tmp_path, "01V", {"k.weight": value, "norm.weight": torch.ones(64)}))
    applied = apply_durable(tmp_path, pointer, "h", live)
    assert (applied.version, applied.step) == ("01V", 5)
    assert torch.equal(live.read("k.weight"), value)
    assert torch.equal(live.read("norm.weight"), torch.ones(64))
    assert not live.read("q.weight").any()


def test_no_version_is_the_base(tmp_path: Path) -> None:
    assert read_durable(tmp_path) == Pointer()
    assert (Pointer().version, Pointer().step) == ("base", 0)


def test_a_version_without_a_file_changes_nothing(live: LiveTensors, tmp_path: Path) -> None:
    before = live.fingerprint()
    assert apply_durable(tmp_path, Pointer(version="01B", step=0), "h", live).version == "01B"
    assert live.fingerprint() == before


def test_a_damaged_version_is_named_and_its_nearest_sound_ancestor_applied(
    live: LiveTensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("vllm.heedloop").propagate = True
    logging.getLogger("vllm").propagate = True
    newest, parent, first = (
        save(tmp_path, name, {"norm.weight": torch.full((64,), value)})
        for name, value in (("01C", 3.0), ("01B", 2.0), ("01A", 1.0))
    )
    pointer = point(tmp_path, newest, parent, first)
    whole = (tmp_path / "01C.version").read_bytes()
    (tmp_path / "01C.version").write_bytes(whole[:-8] + b"damaged!")
    (tmp_path / "01B.version").unlink()
    assert apply_durable(tmp_path, pointer, "h", live) == first
    assert torch.equal(live.read("norm.weight"), torch.ones(64))
    assert "version 01C cannot be applied: version file 01C.version is damaged" in caplog.text
    assert "version 01B cannot be applied: version file 01B.version cannot be read" in caplog.text
    (tmp_path / "01A.version").write_bytes(b"")
    assert apply_durable(tmp_path, pointer, "h", live) == Durable(version="base", step=0)
    assert "serving the base model" in caplog.text


def test_a_damaged_pointer_is_said_and_the_base_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("vllm.heedloop").propagate = True
    logging.getLogger("vllm").propagate = True
    (tmp_path / "live.json").write_text('{"version": 3')
    assert read_durable(tmp_path) == Pointer()
    assert "live.json is damaged" in caplog.text


def test_another_model_or_shape_is_refused_before_anything_is_written(
    live: LiveTensors, tmp_path: Path
) -> None:
    before = live.fingerprint()
    foreign = save(tmp_path, "01V", {"norm.weight": torch.ones(64), "q.weight": torch.ones(3)})
    with pytest.raises(ConfigError, match="not in the served model"):
        apply_durable(tmp_path, point(tmp_path, foreign), "h", live)
    good = save(tmp_path, "01V", {"norm.weight": torch.ones(64)})
    with pytest.raises(ConfigError, match="another model"):
        apply_durable(tmp_path, point(tmp_path, good, model_hash="other"), "h", live)
    with pytest.raises(ConfigError, match="another base model"):
        apply_durable(tmp_path, point(tmp_path, good, model_hash="g"), "g", live)
    assert live.fingerprint() == before
