"""Every architecture that we claim: its weights mapped, written, read back, restored, and computed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, build

PLAIN = ("llama-tied-biased", "qwen2", "qwen3", "gemma3")
CHECKS = {"map", "values", "logits", "seen", "write", "read back", "restore", "steering"}


def slow_unless_plain(name: str) -> Any:
    return pytest.param(name, marks=() if name in PLAIN else pytest.mark.slow)


@pytest.mark.parametrize("name", map(slow_unless_plain, CONFIGS))
def test_every_weight_of_the_architecture_is_live(engines: Any, tmp_path: Path, name: str) -> None:
    require_all_passed(engines.inspect(build(name, tmp_path / name)))


@pytest.mark.slow
def test_weights_that_are_loaded_into_the_arena_as_on_a_gpu_are_live(engines: Any, tmp_path: Path) -> None:
    require_all_passed(engines.inspect(build("gemma3", tmp_path / "model"), mode="early"))


def require_all_passed(outcome: dict[str, Any]) -> None:
    checks = {check["name"]: check for check in outcome.get("checks", ())}
    assert checks.keys() == CHECKS, outcome
    assert [check for check in checks.values() if not check["passed"]] == []


def test_a_weight_that_the_checkpoint_lacks_is_refused_by_name(engines: Any, tmp_path: Path) -> None:
    model = build("llama", tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    del tensors["model.layers.1.self_attn.k_proj.weight"]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    refusal = engines.refusal(model, tmp_path / "arena")
    assert "model.layers.1.self_attn.qkv_proj.weight" in refusal
    assert "not whole in the checkpoint" in refusal
