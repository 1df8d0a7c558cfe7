"""The live weights against the version that the store names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from exporter import export
from transformers import LlamaConfig, LlamaForCausalLM

from learner.live.agreement import disagreements
from learner.live.client import LiveWeights
from learner.live.folder import claim
from store import state, steps, versions
from store.database import Store


@pytest.fixture
def live(tmp_path: Path, store: Store) -> Iterator[LiveWeights]:
    """Live weights of a tiny model, and a store whose version in force they are."""
    folder = tmp_path / "arena"
    lock = claim(folder)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    export(model, folder, torch.device("cpu"))
    attached = LiveWeights.attach(folder)
    version = versions.new_version(
        None, "base", first_step=None, last_step=None, file=None, fingerprint=attached.fingerprint()
    )
    with store.write() as connection:
        versions.add(connection, version)
        state.put(connection, "serving", {"arena": str(folder)})
    attached.mark(version.id, 0)
    yield attached
    attached.close()
    os.close(lock)


def found(store: Store) -> list[str]:
    return [one.name for one in disagreements(store.path.parent)]


def test_the_version_in_force_is_live(live: LiveWeights, store: Store) -> None:
    assert found(store) == []


def test_one_changed_number_is_found(live: LiveWeights, store: Store) -> None:
    position, name = live.position(), "model.norm.weight"
    with live.publishing(position.version, position.step):
        live.write(name, live.read(name) * 1.5)
    assert found(store) == ["live weights differ from their version"]


def test_another_position_is_found(live: LiveWeights, store: Store) -> None:
    live.mark("of another store", 7)
    assert found(store) == ["live weights are of another version"]


def test_a_step_under_way_is_no_disagreement(live: LiveWeights, store: Store) -> None:
    with store.write() as connection:
        connection.execute(
            "INSERT INTO steps (version_id, state, learning_rate, replay_share, intent)"
            " SELECT id, 'intent', 1, 0.25, 1 FROM versions"
        )
    assert steps.unfinished(store) == [1]
    live.mark("whatever", 1)
    assert found(store) == []


def test_a_server_that_is_gone_is_said(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        versions.add(
            connection,
            versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f"),
        )
        state.put(connection, "serving", {"arena": str(tmp_path / "gone")})
    assert found(store) == ["live weights cannot be read"]
