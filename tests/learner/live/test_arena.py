"""The folder of an arena: one living owner, room reserved before use, remains of dead owners removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learner.live.arena import Arena, claim, default_arena, user_root
from learner.live.manifest import DATA, NAME, Manifest
from policies.errors import ConfigError, GuardRefused


def test_a_folder_with_a_living_owner_is_refused(tmp_path: Path) -> None:
    lock = claim(tmp_path / "arena")
    with pytest.raises(GuardRefused, match="another server"):
        claim(tmp_path / "arena")
    os.close(lock)
    os.close(claim(tmp_path / "arena"))


def test_what_a_dead_owner_left_is_removed(
    arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path
) -> None:
    arena_of(owner.process.pid)
    owner.kill()
    os.close(claim(tmp_path / "arena"))
    assert not (tmp_path / "arena" / NAME).exists()
    assert not (tmp_path / "arena" / DATA).exists()


def test_claiming_sweeps_dead_siblings_only(
    arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path
) -> None:
    root = user_root()
    mine, dead, alive = (root / f"test-{os.getpid()}-{kind}" for kind in ("mine", "dead", "alive"))
    try:
        locks = [claim(alive)]
        arena_of(owner.process.pid)
        for folder in (dead, alive):
            shutil.copytree(tmp_path / "arena", folder, dirs_exist_ok=True)
        locks.append(claim(mine))
        assert (alive / DATA).exists()
        assert not (dead / DATA).exists()
        assert root.stat().st_mode & 0o777 == 0o700
        for lock in locks:
            os.close(lock)
    finally:
        for folder in (mine, dead, alive):
            shutil.rmtree(folder, ignore_errors=True)


def test_no_room_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"heedloop-test-{os.getpid()}"
    try:
        os.close(claim(folder))
        room = os.statvfs(folder)
        with pytest.raises(ConfigError, match="--shm-size"):
            Arena.create(folder, room.f_blocks * room.f_frsize + (1 << 30))
        assert [path.name for path in folder.iterdir()] == ["owner.lock"]
    finally:
        shutil.rmtree(folder)


def test_the_default_arena_tells_homes_apart(tmp_path: Path) -> None:
    assert default_arena() == user_root() / "default"
    assert default_arena(tmp_path) != default_arena(tmp_path / "other")
    assert default_arena(tmp_path) == default_arena(tmp_path / "other" / "..")
