"""The version that a server starts with: whole, of this model, or refused before a byte is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from learner.live.arena import Arena
from learner.live.durable import Durable, apply_durable, read_durable
from learner.live.manifest import Manifest
from learner.live.tensors import LiveTensors
from policies.errors import ConfigError


@pytest.fixture
def live(arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path) -> LiveTensors:
    manifest = arena_of(owner.process.pid)
    return LiveTensors([(manifest, Arena.open(tmp_path / "arena", manifest))])


def save(folder: Path, tensors: dict[str, torch.Tensor], **row: Any) -> Durable:
    save_file(tensors, folder / "v.safetensors")
    (folder / "live.json").write_text(
        json.dumps({"version": "01V", "step": 5, "file": "v.safetensors"} | row)
    )
    return read_durable(folder)


def test_changed_tensors_are_written(live: LiveTensors, tmp_path: Path) -> None:
    value = torch.randn(40, 64).bfloat16()
    durable = save(tmp_path, {"k.weight": value}, model_hash="h")
    apply_durable(tmp_path, durable, "h", live)
    assert (durable.version, durable.step) == ("01V", 5)
    assert torch.equal(live.read("k.weight"), value)
    assert not live.read("q.weight").any()


def test_no_version_is_the_base(tmp_path: Path) -> None:
    assert read_durable(tmp_path) == read_durable(None) == Durable(version="base", step=0)


def test_a_version_without_a_file_changes_nothing(live: LiveTensors, tmp_path: Path) -> None:
    before = live.fingerprint()
    apply_durable(tmp_path, Durable(version="01B", step=0), "h", live)
    assert live.fingerprint() == before


def test_damage_is_refused_before_anything_is_written(live: LiveTensors, tmp_path: Path) -> None:
    good = {"norm.weight": torch.ones(64), "k.weight": torch.ones(40, 64).bfloat16()}
    before, file = live.fingerprint(), tmp_path / "v.safetensors"
    durable = save(tmp_path, good)
    whole = file.read_bytes()
    sha = hashlib.sha256(whole).hexdigest()
    file.write_bytes(whole[:-8])
    with pytest.raises(ConfigError, match="cannot be read"):
        apply_durable(tmp_path, durable, "h", live)
    file.write_bytes(whole[:-8] + b"damaged!")
    with pytest.raises(ConfigError, match="sha256"):
        apply_durable(tmp_path, durable.model_copy(update={"sha256": sha}), "h", live)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        apply_durable(tmp_path, durable, "h", live)
    with pytest.raises(ConfigError, match="not in the served model"):
        apply_durable(tmp_path, save(tmp_path, good | {"q.weight": torch.ones(3)}), "h", live)
    with pytest.raises(ConfigError, match="another model"):
        apply_durable(tmp_path, save(tmp_path, good, model_hash="other"), "h", live)
    (tmp_path / "live.json").write_text('{"version": 3')
    with pytest.raises(ConfigError, match="damaged"):
        read_durable(tmp_path)
    assert live.fingerprint() == before
