"""A checkpoint that can also see is learned under the names of its text model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from learner.archive import Archive
from learner.live.names import text_name
from learner.live.support import text_only_flags
from store.versions import Version


@pytest.mark.parametrize(
    ("checkpoint", "learned"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.visual.blocks.0.attn.proj.bias", "model.visual.blocks.0.attn.proj.bias"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_the_text_part_is_named_as_if_it_stood_alone(checkpoint: str, learned: str) -> None:
    assert text_name(checkpoint) == learned


def test_only_the_text_part_is_served(tmp_path: Path) -> None:
    assert text_only_flags(tmp_path) == []
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {}}))
    assert text_only_flags(tmp_path) == []
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {}, "vision_config": {}}))
    assert text_only_flags(tmp_path) == ["--language-model-only"]


def test_the_base_is_found_under_the_names_that_are_learned(tmp_path: Path) -> None:
    weight = torch.ones(3, dtype=torch.bfloat16)
    save_file({"model.language_model.norm.weight": weight}, tmp_path / "model.safetensors")
    archive = Archive(tmp_path / "versions", tmp_path, "h")
    base = Version.model_construct(id="base", file=None)
    found = dict(archive.tensors(base, ["model.norm.weight"]))
    assert torch.equal(found["model.norm.weight"], weight)
