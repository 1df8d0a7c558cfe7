"""Task vectors of what a tiny learner has really learned: taken out of versions, put in, and trained anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_system import CONFIG, CORRECTIONS, System, learned_system
from typer.testing import CliRunner

from learner.commands import carry_out
from learner.model import load_model
from learner.steering.activations import residuals
from learner.tokens import prompt_of
from learner.trainer import Trainer
from learner.vectors.library import Library
from learner.vectors.live import LiveVectors
from learner.vectors.training import learned, train
from learner.verbs import steering, vectors
from policies.messages import CommandName, CommandPayload
from store import branches, commands, examples, versions
from store.clock import new_id
from store.versions import Version


@pytest.fixture(scope="module")
def system(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A learner that has learned all there is; each test leaves the live weights as it found them."""
    made = learned_system(tmp_path_factory.mktemp("learned-vectors"), smollm2_path)
    yield made
    made.close()


def run(system: System, room: Any, *words: str) -> Any:
    """Run a verb with --json and return what it printed."""
    home = {"HEEDLOOP_HOME": str(system.store.path.parent)}
    done = CliRunner().invoke(room, [*words, "--json"], env=home, catch_exceptions=False)
    return json.loads(done.stdout.strip().splitlines()[-1])


def library_of(system: System) -> Library:
    """The vectors of a system's home."""
    return Library(system.store.path.parent, system.archive.model_hash)


def order(system: System, name: CommandName, /, **arguments: Any) -> dict[str, Any]:
    """Give a command as the command line does; a refusal comes back as {"reason"}."""
    parts = system.archive, system.live, system.lineage, system.rounds
    live = LiveVectors(system.store, *parts, library_of(system))
    command = CommandPayload(event_id=new_id(), command=name, args=arguments)
    with system.store.write() as connection:
        commands.insert(connection, "test", command)
    carry_out(system.store, command, system.lineage, system.rounds, live.handlers())
    ended = commands.outcome(system.store, command.event_id)
    assert ended is not None
    return ended[1]


def trained(system: System) -> list[Version]:
    return [version for version in versions.every(system.store) if version.kind == "train"]


def test_extract_keeps_what_the_versions_changed(system: System) -> None:
    newest, base = trained(system)[-1], versions.every(system.store)[0]
    told = run(system, vectors.commands, "extract", "loud", "--to", newest.id)
    assert (told["from_version"], told["to_version"]) == (base.id, newest.id)
    kept = load_file(system.store.path.parent / "vectors" / "loud.safetensors")
    assert set(kept) == set(system.archive.changed(newest))
    before = dict(system.archive.base(kept))
    for name, after in system.archive.tensors(newest, kept):
        assert torch.equal(kept[name], after.float() - before[name].float())


def test_states_are_those_of_the_version_that_is_named(system: System, tmp_path: Path) -> None:
    newest = trained(system)[-1]
    out = tmp_path / "states.safetensors"
    told = run(system, steering.commands, "states", "Hi.", "--version", newest.id, "--out", str(out))
    assert told["version"] == newest.id
    model, tokenizer = load_model(system.archive.model_dir)
    ids = prompt_of(tokenizer, [{"role": "user", "content": "Hi."}], 4096).ids
    untrained = residuals(model, ids)
    with torch.no_grad():
        for name, value in system.archive.tensors(newest, system.archive.changed(newest)):
            dict(model.named_parameters())[name].copy_(value)
    with safe_open(out, "pt") as file:
        torch.testing.assert_close(file.get_tensor("residual.1"), residuals(model, ids)[1])
        assert not torch.allclose(file.get_tensor("residual.1"), untrained[1])


def retired(system: System, name: str) -> str:
    """Apply a vector and another one after it, and lose the version in between; returns its id."""
    for vector in {name, "later"} - set(library_of(system).names()):
        run(system, vectors.commands, "extract", vector, "--to", trained(system)[-1].id)
    applied = versions.require(system.store, order(system, "apply_vector", name=name)["version"])
    order(system, "apply_vector", name="later", scale=0.5)
    with system.store.write() as connection:
        versions.retire(connection, applied.id)
    system.archive.remove(str(applied.file))
    return applied.id


def test_a_vector_is_removed_by_its_own_file_where_its_version_is_gone(system: System) -> None:
    before = {name: system.live.read(name) for name in system.trainer.parameters}
    retired(system, "early")
    moved = {name: system.live.read(name) for name in system.trainer.parameters}
    assert any(not torch.equal(moved[name], before[name]) for name in before)
    for name in ("early", "later"):
        assert order(system, "remove_vector", name=name)["by"] == "subtraction"
    for name, value in before.items():
        torch.testing.assert_close(system.live.read(name).float(), value.float(), atol=1e-3, rtol=0.01)


def test_a_vector_made_anew_is_not_taken_for_the_one_that_was_applied(system: System) -> None:
    gone = retired(system, "other")
    library_of(system).remove("other")
    run(system, vectors.commands, "negate", "later", "--into", "other")
    live = system.live.fingerprint()
    reason = order(system, "remove_vector", name="other")["reason"]
    assert "made anew" in reason
    assert gone in reason
    assert system.live.fingerprint() == live


def test_a_new_branch_starts_at_the_base_and_main_comes_back_bit_for_bit(system: System) -> None:
    base, on_main = versions.every(system.store)[0], system.live.fingerprint()
    assert order(system, "check_out", to="terse", create=True)["bit_for_bit"] is True
    assert branches.current(system.store) == "terse"
    assert system.live.fingerprint() == base.fingerprint
    assert order(system, "check_out", to="main")["bit_for_bit"] is True
    assert system.live.fingerprint() == on_main


def test_a_course_takes_each_correction_as_often_as_is_set_and_leaves_the_base(system: System) -> None:
    model, tokenizer = load_model(system.archive.model_dir)
    base, _ = load_model(system.archive.model_dir)
    untouched = {name: value.clone() for name, value in base.named_parameters()}
    trainer = Trainer(model, tokenizer, base, CONFIG.training, 0)
    corrections, told = examples.ready(system.store), []
    general = [usable.example for usable in examples.general(system.store, 4)]
    done = train(trainer, corrections, general, CONFIG.training, lambda *step: told.append(step))
    uses = CORRECTIONS * CONFIG.training.uses_per_example
    assert done.steps == uses // CONFIG.training.corrections_per_batch
    assert [step for step, _, _ in told] == list(range(1, done.steps + 1))
    assert told[-1][1:] == (done.steps, done.loss)
    shapes, changes = learned(trainer)
    moved = False
    for name, start, stop, change in changes:
        parameter = dict(model.named_parameters())[name].detach()
        assert shapes[name] == tuple(parameter.shape)
        before = untouched[name][start:stop]
        assert torch.equal(change, parameter[start:stop].float() - before.float())
        moved |= bool(change.any())
    assert moved
    assert all(torch.equal(value, untouched[name]) for name, value in base.named_parameters())
