"""The learner on a hybrid model (Gated DeltaNet and attention): every trained tensor is written live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.archive import Archive
from learner.base_model import model_hash
from learner.lineage import Lineage
from learner.live.client import LiveWeights
from learner.model import load_model
from learner.trainer import Trainer
from policies.config import GuardConfig, TrainingConfig
from policies.errors import GuardRefused
from policies.example import Example
from store.database import open_store


@pytest.fixture
def live(qwen35_server: Any) -> Iterator[LiveWeights]:
    """The live weights of the hybrid; they are put back as they were found."""
    attached = LiveWeights.attach(qwen35_server.arena)
    before, position = attached.fingerprint(), attached.position()
    kept = {name: attached.read(name) for name in attached.names}
    yield attached
    with attached.publishing(position.version, position.step):
        for name, value in kept.items():
            attached.write(name, value)
    assert attached.fingerprint() == before
    attached.close()


def correction() -> Example:
    asked = {"role": "user", "content": "What is a lake?"}
    return Example(
        id="e",
        kind="correction",
        direction="Answer in lowercase.",
        context=({"role": "system", "content": "Answer in lowercase."}, asked),
        twin_context=(asked,),
        chosen="a lake is water.",
        rejected="A lake is water.",
        origin="correction",
    )


def test_a_step_reaches_every_tensor_of_the_live_hybrid(qwen35_server: Any, live: LiveWeights) -> None:
    model, tokenizer = load_model(qwen35_server.model_dir)
    base, _ = load_model(qwen35_server.model_dir)
    trainer = Trainer(model, tokenizer, base, TrainingConfig(max_replay_tokens=4), 0)
    kept = {name: live.read(name) for name in trainer.parameters}
    trainer.reload(live.read)
    gradients = trainer.backward(trainer.rows_for(correction()))
    assert gradients.finite
    assert set(gradients.tensors) == set(trainer.parameters)
    with live.publishing("v", 1):
        applied = trainer.apply(gradients, 0.05, live.write)  # more than an ulp of every value
    assert applied.changed_bytes == sum(2 * parameter.numel() for parameter in trainer.parameters.values())
    for name, parameter in trainer.parameters.items():
        assert torch.equal(live.read(name).float(), parameter.detach().float()), name
        assert not torch.equal(live.read(name).float(), kept[name].float()), name


def test_a_server_that_holds_another_stores_version_is_refused(
    qwen35_server: Any, live: LiveWeights, tmp_path: Path
) -> None:
    model, tokenizer = load_model(qwen35_server.model_dir)
    trainer = Trainer(model, tokenizer, model, TrainingConfig(), 0)
    archive = Archive(tmp_path / "versions", qwen35_server.model_dir, model_hash(qwen35_server.model_dir))
    with live.publishing("01TINYVERSION", 7):
        pass
    with pytest.raises(GuardRefused, match="of another store"):
        Lineage(open_store(tmp_path / "home"), archive, live, trainer, GuardConfig()).settle()
