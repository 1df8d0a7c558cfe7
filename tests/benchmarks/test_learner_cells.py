"""The benchmarks run on a hybrid with GDN layers as on the model that is embedded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from benchmarks.learner import optimizers, passes
from benchmarks.learner.__main__ import every_cell
from benchmarks.learner.cells import Cells
from benchmarks.learning.recipes import learned_by
from learner.experiments.course import Models, corrections_of
from learner.experiments.directions import JSON_KEY
from learner.experiments.hybrid.study import moved
from learner.experiments.scoring import Scorer
from learner.model import load_model
from learner.probing.material import load_material
from policies.example import Example


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The benchmarks take one thread; the tests after this one have as many as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_frozen_full_and_checkpointed_passes_of_a_hybrid_have_one_loss(tiny_qwen35_path: Path) -> None:
    found = passes.speed(str(tiny_qwen35_path), 512)
    assert found["losses"]["frozen"] == pytest.approx(found["losses"]["full"], rel=2e-2)
    assert found["losses"]["checkpointed"] == pytest.approx(found["losses"]["full"], rel=2e-2)
    assert set(found["seconds"]) == set(passes.WAYS)


def test_the_share_of_the_optimizer_is_measured_on_a_hybrid(tiny_qwen35_path: Path) -> None:
    found = optimizers.share(str(tiny_qwen35_path), "r64")
    assert 0 < found["step_share"] < 1
    assert len(found["row_tokens"]) == 4


def test_a_recipe_moves_what_a_gdn_layer_has(tiny_qwen35_path: Path) -> None:
    base, tokenizer = load_model(tiny_qwen35_path)
    models = Models(load_model(tiny_qwen35_path)[0], base, tokenizer)
    context = ({"role": "user", "content": "What is a harbor?"},)
    pool = [Example(id="g", kind="general", context=context, chosen="A place for ships.", origin="base")]
    corrections = corrections_of(models, (JSON_KEY,), 2, 0)
    learned = learned_by("no_rehearsal", models, (JSON_KEY,), corrections, pool, 0)
    assert learned.steps > 0
    found = moved(models)
    # A_log and dt_bias move, too (tests/learner/test_trainer.py), but four steps are less than a bf16 of them
    for part in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "conv1d"):
        assert found[f"linear_attn.{part}"] > 0, part


def test_a_toy_that_knows_no_fact_is_scored_without_quality(tiny_qwen35_path: Path) -> None:
    base, tokenizer = load_model(tiny_qwen35_path)
    scorer = Scorer(base, tokenizer, load_material().facts[:4])
    assert not any(scorer.base_facts.values())
    found = scorer.score(base, (JSON_KEY,))
    assert (found["quality"], found["nll_ratio"]) == (None, 1.0)


def test_fine_tuning_in_fp32_leaves_nothing_behind_but_parameters(tiny_qwen35_path: Path) -> None:
    base, tokenizer = load_model(tiny_qwen35_path, torch.bfloat16)
    models = Models(load_model(tiny_qwen35_path, torch.bfloat16)[0], base, tokenizer)
    corrections = corrections_of(models, (JSON_KEY,), 2, 0)
    learned = learned_by("adamw", models, (JSON_KEY,), corrections, [], 0)
    assert learned.steps > 0
    assert any(
        not torch.equal(a, b) for a, b in zip(base.parameters(), models.model.parameters(), strict=True)
    )
    models.reset()
    for parts in (PreTrainedModel.named_parameters, PreTrainedModel.named_buffers):
        now = dict(parts(models.model))
        for name, value in parts(base):
            assert now[name].dtype == value.dtype, name
            assert torch.equal(now[name], value), name


def test_parts_of_one_model_are_not_taken_for_those_of_another(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    cells = Cells(path, "one")
    cells._known["conversation"] = {"seconds": {"one_pass": 1.0}}  # as if it had been measured
    path.write_text(json.dumps(cells._all))
    assert Cells(path, "one").get("conversation")["seconds"] == {"one_pass": 1.0}
    assert Cells(path, "other")._known == {}
    assert {"conversation", "pass-8192", "r64-share"} <= set(every_cell("one"))
