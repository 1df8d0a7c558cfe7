"""Who may attach and write: dead owners, restarted servers, damaged manifests. And the packed rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.live.client import LiveWeights
from learner.live.folder import claim
from learner.live.manifest import DATA, NAME, Manifest, write_manifest
from policies.errors import ConfigError, GuardRefused, Unreachable, UnsupportedModel

Make = Callable[..., Manifest]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "arena"


def test_ragged_stacked_and_doubled_tensors_are_written_whole(
    arena_of: Make, owner: Any, folder: Path
) -> None:
    arena_of(owner.process.pid)
    live = LiveWeights.attach(folder)
    values = {name: torch.randn(live.shape(name)) for name in live.names}
    with live.publishing("v", 1):
        for name, value in values.items():
            live.write(name, value)
    for name, value in values.items():
        assert torch.equal(live.read(name), value.to(live.dtype(name))), name
    assert torch.equal(live.read("norm.weight"), values["norm.weight"])  # kept in float32
    doubled = live._tensors.shards[0].flat["head#packed"]
    rows = live._tensors.shards[0].flat["head"].view(96, 64)
    blocks = torch.stack([rows[32 * b + r, 2 * p : 2 * p + 2] for b, p, r in _order(96, 64)])
    assert torch.equal(doubled.view(-1, 2), blocks)
    assert not rows[70:].any()
    assert live.view("q.weight") is None
    assert live.view("head.weight") is not None


def _order(rows: int, columns: int) -> list[tuple[int, int, int]]:
    return [(b, p, r) for b in range(rows // 32) for p in range(columns // 2) for r in range(32)]


def test_a_dead_owner_is_refused_and_a_reused_pid_is_no_owner(
    arena_of: Make, owner: Any, folder: Path
) -> None:
    manifest = arena_of(owner.process.pid)
    write_manifest(folder, manifest.model_copy(update={"started": manifest.started - 1}))
    with pytest.raises(Unreachable, match="is gone"):
        LiveWeights.attach(folder)
    write_manifest(folder, manifest)
    LiveWeights.attach(folder).close()
    owner.kill()
    with pytest.raises(Unreachable, match="is gone"):
        LiveWeights.attach(folder)


def test_weights_of_another_generation_are_refused(arena_of: Make, owner: Any, folder: Path) -> None:
    manifest = arena_of(owner.process.pid)
    write_manifest(folder, manifest.model_copy(update={"generation": "0123456789abcdef"}))
    with pytest.raises(Unreachable, match="two servers"):
        LiveWeights.attach(folder)


def test_a_ghost_is_never_written(arena_of: Make, owner: Any, folder: Path) -> None:
    arena_of(owner.process.pid)
    ghost = LiveWeights.attach(folder)
    assert ghost.is_current()
    arena_of(owner.process.pid)  # the server came back: new files under the same names
    before = ghost.fingerprint()
    assert not ghost.is_current()
    with pytest.raises(Unreachable, match="is gone"), ghost.publishing("v", 1):
        ghost.write("norm.weight", torch.ones(64))
    assert ghost.fingerprint() == before
    again = LiveWeights.attach(folder)  # the ghost's lock was on the old manifest
    assert again.generation != ghost.generation
    assert again.position() == ghost.position()


def test_a_server_that_dies_while_publishing_is_noticed(arena_of: Make, owner: Any, folder: Path) -> None:
    arena_of(owner.process.pid)
    live = LiveWeights.attach(folder)
    publishing = live.publishing("v", 1)
    publishing.__enter__()
    live.write("norm.weight", torch.ones(64))
    owner.kill()
    with pytest.raises(Unreachable, match="is gone"):
        publishing.__exit__(None, None, None)
    assert live.position().version == "base"


def test_lost_tensors_damage_and_other_formats_are_refused(arena_of: Make, owner: Any, folder: Path) -> None:
    manifest = arena_of(owner.process.pid, lost=("layers.0.A",))
    with pytest.raises(UnsupportedModel, match=r"layers\.0\.A"):
        LiveWeights.attach(folder)
    write_manifest(folder, manifest.model_copy(update={"format": 2}))
    with pytest.raises(ConfigError, match="format 2"):
        LiveWeights.attach(folder)
    (folder / NAME).write_text('{"format": 1')
    with pytest.raises(ConfigError, match="not a manifest"):
        LiveWeights.attach(folder)
    (folder / NAME).unlink()
    with pytest.raises(Unreachable, match="is the server up"):
        LiveWeights.attach(folder)


def test_the_lock_of_one_writer_ends_with_close(arena_of: Make, owner: Any, folder: Path) -> None:
    arena_of(owner.process.pid)
    first = LiveWeights.attach(folder)
    with pytest.raises(GuardRefused):
        LiveWeights.attach(folder)
    first.close()
    with pytest.raises(GuardRefused, match="read only"):
        first.mark("v", 1)
    second = LiveWeights.attach(folder)
    long = "v" * 256
    for step in range(5):
        second.mark(long, step)
        assert first.position() == second.position()
    assert (second.position().version, second.position().step, second.position().epoch) == (long, 4, 5)
    with pytest.raises(ConfigError, match="256"):
        second.mark(long + "v", 1)


@pytest.mark.parametrize("name", ["", NAME, DATA])
def test_an_arena_that_others_can_open_is_not_written(
    arena_of: Make, owner: Any, folder: Path, name: str
) -> None:
    arena_of(owner.process.pid)
    (folder / name).chmod(0o755 if name == "" else 0o644)
    with pytest.raises(ConfigError, match="others can open it"):
        LiveWeights.attach(folder)
    with pytest.raises(ConfigError, match="others can open it"):
        LiveWeights.attach(folder, exclusive=False)
    (folder / name).chmod(0o700 if name == "" else 0o600)
    LiveWeights.attach(folder).close()


def test_an_arena_of_another_user_is_not_written(
    arena_of: Make, owner: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena_of(owner.process.pid)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)  # only root could give the folder away
    with pytest.raises(ConfigError, match=f"belongs to user {mine}, not to you"):
        LiveWeights.attach(folder)
    with pytest.raises(ConfigError, match="belongs to user"):
        claim(folder)


def test_a_foreign_manifest_is_refused(arena_of: Make, owner: Any, folder: Path) -> None:
    manifest = arena_of(owner.process.pid)
    write_manifest(folder, manifest.model_copy(update={"nbytes": manifest.nbytes + (1 << 20)}))
    with pytest.raises(Unreachable, match="weights are gone"):  # of a larger arena
        LiveWeights.attach(folder)
    head = manifest.tensors["head"].model_copy(update={"offset": manifest.nbytes - 64})
    write_manifest(folder, manifest.model_copy(update={"tensors": manifest.tensors | {"head": head}}))
    with pytest.raises(ConfigError, match="foreign"):
        LiveWeights.attach(folder)
    write_manifest(folder, manifest.model_copy(update={"ranks": 2}))
    with pytest.raises(Unreachable, match="no live weights here"):  # the second rank never announced itself
        LiveWeights.attach(folder)
    write_manifest(folder, manifest.model_copy(update={"ranks": 2, "rank": 1, "generation": "ab" * 8}))
    with pytest.raises(Unreachable, match="two servers"):
        LiveWeights.attach(folder)
