"""The search for the cause of a breach: on a tiny model that one of three examples has spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learner.causes import Causes, guilty
from learner.model import load_model
from learner.probing.material import ProbeMaterial, load_material
from learner.probing.suite import ProbeSuite
from learner.rehearsal import follows
from learner.trainer import Trainer
from policies.config import TrainingConfig
from policies.example import Example
from tests.learner.small_system import make_model


def example(name: str, asked: str, chosen: str) -> Example:
    context = ({"role": "user", "content": asked},)
    return Example(
        id=name,
        kind="correction",
        direction=None,
        context=context,
        chosen=chosen,
        rejected="x",
        origin="correction",
    )


BAD = example("bad", "What is a lake?", "No no no no no no no")
GOOD = [example("c", "Who wrote it?", "Somebody did"), example("d", "When was it?", "In spring")]


@pytest.fixture(scope="module")
def parts(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, ProbeSuite]:
    folder = make_model(tmp_path_factory.mktemp("tiny"), smollm2_path)
    model, tokenizer = load_model(folder, torch.float32)
    base, _ = load_model(folder, torch.float32)
    everything = load_material()
    few = ProbeMaterial(
        facts=everything.facts[:2], texts=everything.texts[:2], prompts=everything.prompts[:4]
    )
    config = TrainingConfig(rank=8, learning_rate=1e-2, max_decision_tokens=8)
    return Trainer(model, tokenizer, base, config, 0), ProbeSuite(model, base, tokenizer, few, follows, 8)


@pytest.fixture
def spoilt(parts: tuple[Trainer, ProbeSuite]) -> tuple[Trainer, ProbeSuite, dict[str, torch.Tensor]]:
    """Train on BAD alone; return also the weights before it."""
    trainer, suite = parts
    before = {name: p.detach().clone().bfloat16() for name, p in trainer.parameters.items()}
    trainer.reload(before.__getitem__)
    row = trainer.rows_for(BAD)[0]
    for _ in range(6):
        trainer.step([row], 1e-3, lambda name, value: None)
    return trainer, suite, before


def test_the_one_that_did_it_has_the_most_harm(
    spoilt: tuple[Trainer, ProbeSuite, dict[str, torch.Tensor]],
) -> None:
    trainer, suite, before = spoilt
    causes = Causes(trainer, suite, seconds=60)
    worse = causes.direction(["kl"], [])
    assert worse is not None
    trainer.reload(before.__getitem__)
    harms = causes.harms(worse, [*GOOD, BAD])
    assert harms is not None
    assert harms["bad"] == 1.0
    assert guilty(harms, 0.8) == ["bad"]


def test_without_time_nobody_is_acquitted(
    spoilt: tuple[Trainer, ProbeSuite, dict[str, torch.Tensor]],
) -> None:
    trainer, suite, before = spoilt
    assert Causes(trainer, suite, seconds=0).direction(["kl"], []) is None
    worse = Causes(trainer, suite, seconds=60).direction(["kl"], [])
    assert worse is not None
    trainer.reload(before.__getitem__)
    assert Causes(trainer, suite, seconds=1e-9).harms(worse, [*GOOD, BAD]) is None
