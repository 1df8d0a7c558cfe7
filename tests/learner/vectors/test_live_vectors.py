"""Vectors and steering on a running server, by the learner's own parts: bytes, versions, answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from steering_vectors import steering_vector
from torch import Tensor

from learner.archive import Archive
from learner.base_model import model_hash
from learner.commands import carry_out
from learner.lineage import Lineage
from learner.live.client import LiveWeights
from learner.model import load_model
from learner.probing.material import ProbeMaterial, load_material
from learner.probing.suite import ProbeSuite
from learner.rehearsal import follows
from learner.rounds import Rounds
from learner.serving import _answer
from learner.steering.extraction import Directions
from learner.steering.file import Steering
from learner.steering.live import LiveSteering
from learner.trainer import Trainer
from learner.vectors.blocks import Block
from learner.vectors.library import Library
from learner.vectors.live import LiveVectors
from policies.config import Config
from policies.messages import CommandName, CommandPayload
from store import branches, commands, versions
from store.clock import new_id
from store.database import Store, open_store

pytestmark = pytest.mark.slow

DOWN, NORM = "model.layers.3.mlp.down_proj.weight", "model.layers.20.input_layernorm.weight"


@dataclass
class Bench:
    """Everything around one attachment to the session's server."""

    store: Store
    live: LiveWeights
    lineage: Lineage
    rounds: Rounds
    steering: LiveSteering
    handlers: dict[str, Any]
    library: Library
    url: str

    def order(self, name: CommandName, /, **arguments: Any) -> dict[str, Any]:
        """Give a command as the command line does; a refusal comes back as {"reason"}."""
        command = CommandPayload(event_id=new_id(), command=name, args=arguments)
        with self.store.write() as connection:
            commands.insert(connection, "test", command)
        carry_out(self.store, command, self.lineage, self.rounds, self.handlers)
        ended = commands.outcome(self.store, command.event_id)
        assert ended is not None
        return ended[1]


@pytest.fixture
def bench(smollm2_server: Any, tmp_path: Path) -> Iterator[Bench]:
    folder, hashed = smollm2_server.model_dir, model_hash(smollm2_server.model_dir)
    model, tokenizer = load_model(folder)
    few = load_material().drawn(0)
    material = ProbeMaterial(facts=few.facts[:2], texts=few.texts[:1], prompts=few.prompts[:1])
    suite = ProbeSuite(model, load_model(folder)[0], tokenizer, material, follows, 8)
    config = Config()
    trainer = Trainer(model, tokenizer, suite._base, config.training, 0)
    live = LiveWeights.attach(smollm2_server.arena)
    before, position = {n: live.read(n) for n in (DOWN, NORM)}, live.position()
    store = open_store(tmp_path / "home")
    archive = Archive(tmp_path / "versions", folder, hashed)
    lineage = Lineage(store, archive, live, trainer, config.guard)
    rounds = Rounds(store, config, live, trainer, suite, lineage)
    lineage.settle()
    library, steering = Library(tmp_path / "home", hashed), Steering(tmp_path / "home", hashed)
    for name, seed in (("one", 1), ("two", 2)):
        library.add(
            name, {n: tuple(v.shape) for n, v in before.items()}, _noise(before, seed), recipe="noise"
        )
    _keep_direction(steering, live.steering_shape, hashed)
    steerer = LiveSteering(
        store, live, lineage, rounds, steering, lambda _: 1.0, 1.5, smollm2_server.url, "smollm2"
    )
    handlers = LiveVectors(store, archive, live, lineage, rounds, library).handlers() | steerer.handlers()
    yield Bench(store, live, lineage, rounds, steerer, handlers, library, smollm2_server.url)
    live.steer(None)
    with live.publishing(position.version, position.step):
        for name, value in before.items():
            live.write(name, value)
    live.close()
    store.close()


def _noise(values: dict[str, Tensor], seed: int) -> Iterator[Block]:
    drawn = torch.Generator().manual_seed(seed)
    for name, value in values.items():
        size = value.float().std() * 0.1
        yield name, 0, value.shape[0], torch.randn(value.shape, generator=drawn) * size


def _keep_direction(steering: Steering, shape: tuple[int, int], hashed: str) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    steering.keep(
        steering_vector(name="noise", model_hash=hashed, layer=12, strength=4.0),
        Directions(rows, rows.clone()),
    )


def test_vectors_are_added_removed_and_checked_out_on_the_live_bytes(bench: Bench) -> None:
    base, clean = bench.live.fingerprint(), bench.live.read(DOWN)
    applied = bench.order("apply_vector", name="one", scale=1.0)
    assert bench.live.fingerprint() != base
    assert bench.lineage.version.id == applied["version"]
    removed = bench.order("remove_vector", name="one")
    assert removed["bit_for_bit"] is True
    assert bench.live.fingerprint() == base

    both = bench.order("apply_vector", expression="one+0.5*two")["applied"]
    assert [part["scale"] for part in both] == [1.0, 0.5]
    subtracted = bench.order("remove_vector", name="one")
    assert subtracted["bit_for_bit"] is False
    left = bench.live.read(DOWN).float() - clean.float()
    two = bench.library.open("two")
    assert torch.allclose(left, 0.5 * two.rows(DOWN, 0, clean.shape[0]), atol=0.02)
    assert "not in the live weights" in bench.order("remove_vector", name="one")["reason"]

    on_main = bench.live.fingerprint()
    assert bench.order("check_out", to="terse", create=True)["bit_for_bit"] is True
    assert bench.live.fingerprint() == base
    bench.order("apply_vector", name="one", scale=-1.0)
    assert branches.current(bench.store) == "terse"
    assert bench.order("check_out", to="main")["bit_for_bit"] is True
    assert bench.live.fingerprint() == on_main
    reverted = bench.order("revert", version=both[1]["version"])
    assert torch.allclose(bench.live.read(DOWN).float(), clean.float(), atol=0.02), reverted


def test_nonsense_is_refused_and_changes_nothing(bench: Bench) -> None:
    before, known = bench.live.fingerprint(), len(versions.every(bench.store))
    for name, arguments in (
        ("apply_vector", {"name": "nobody"}),
        ("apply_vector", {"name": "one", "scale": float("inf")}),
        ("apply_vector", {"name": 3}),
        ("remove_vector", {"name": "one"}),
        ("check_out", {"to": "nowhere"}),
        ("revert", {"version": bench.lineage.version.id}),
        ("steer", {"action": "on", "name": "nobody"}),
        ("steer", {"action": "on", "name": "noise", "layer": 99}),
        ("steer", {"action": "on", "name": "noise", "layer": "x"}),
        ("steer", {"action": "scale", "name": "noise", "scale": 2.0}),
        ("steer", {"action": "train", "name": "noise"}),
        ("steer", {"action": "dance", "name": "noise"}),
        ("steer", {"action": "off"}),
    ):
        reason = bench.order(name, **arguments)["reason"]
        assert reason, name
        assert "\n" not in reason
    assert (bench.live.fingerprint(), len(versions.every(bench.store))) == (before, known)


def test_steering_changes_answers_is_a_version_and_off_is_bit_identical(
    bench: Bench, smollm2_server: Any
) -> None:
    import httpx

    with httpx.Client(base_url=bench.url, timeout=120, trust_env=False) as client:
        before = _answer(client, smollm2_server.name)
        done = bench.order("steer", action="on", name="noise", scale=1.0)
        assert versions.in_force(bench.store) == versions.get(bench.store, done["version"])
        steered = _answer(client, smollm2_server.name)
        assert steered != before
        bench.order("steer", action="off", name="noise")
        assert _answer(client, smollm2_server.name) == before
        bench.order("steer", action="on", name="noise", scale=1.0)
        bench.order("rollback")
        bench.steering.follow()
        assert _answer(client, smollm2_server.name) == before
        tried = bench.order("steer", action="try", name="noise", scale=1.0, prompts=["Say hello."])
        assert tried["off"] != tried["on"]
        assert _answer(client, smollm2_server.name) == before
