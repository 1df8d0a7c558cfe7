"""The folder of an arena: one living owner, room reserved before use, remains of dead owners removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learner.live.arena import Arena
from learner.live.folder import claim, default_arena, discard
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


def test_an_arena_is_discarded_only_when_its_server_has_ended(
    arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "arena"
    discard(folder)
    lock = claim(folder)
    arena_of(owner.process.pid)
    discard(folder)
    assert (folder / DATA).exists()
    threading.Timer(0.2, os.close, (lock,)).start()
    discard(folder, patience=60)
    assert not folder.exists()


def test_claiming_sweeps_dead_siblings_only(
    arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path
) -> None:
    mine, dead, alive, other = (
        tmp_path / name for name in ("heedloop-a", "heedloop-b", "heedloop-c", "else")
    )
    locks = [claim(alive)]
    arena_of(owner.process.pid)
    (tmp_path / "arena" / "owner.lock").touch()
    for folder in (dead, alive, other):
        shutil.copytree(tmp_path / "arena", folder, dirs_exist_ok=True)
    locks.append(claim(mine))
    assert (alive / DATA).exists()
    assert (other / DATA).exists()
    assert not dead.exists()
    assert mine.stat().st_mode & 0o777 == 0o700
    for lock in locks:
        os.close(lock)


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


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"server\.arena"):
        claim(tmp_path / "file" / "arena")
    assert default_arena().parent == Path("/dev/shm")


def test_a_full_memory_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    told = in_one_megabyte(small, MAKE_ARENA, str(small / "arena"))
    refused, left, fitting = told.splitlines()
    assert "the live weights need 4 MiB" in refused
    assert "--shm-size" in refused
    assert (left, fitting) == ("owner.lock", "262144")


MAKE_ARENA = """
import os, sys
from pathlib import Path
from learner.live.arena import Arena
from learner.live.folder import claim
from policies.errors import ConfigError
folder = Path(sys.argv[1])
claim(folder)
try:
    Arena.create(folder, 4 << 20)
except ConfigError as error:
    print(error)
print(*os.listdir(folder))
print(Arena.create(folder, 1 << 18).bytes.nbytes)
"""


def in_one_megabyte(folder: Path, program: str, *arguments: str) -> str:
    """What a Python program prints where `folder` holds 1 MiB: a tmpfs in a mount namespace of its own, or,
    where that is not allowed, a limit on the size of files.
    """
    mount = f"mount -t tmpfs -o size=1m none {folder}"
    namespace = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        namespace = ["sh", "-c", 'ulimit -f 2048 && exec "$@"', "sh"]  # blocks of 512 bytes
    command = [*namespace, sys.executable, "-c", program, *arguments]
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_a_folder_that_others_can_open_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "arena"
    folder.mkdir()
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match=r"others can open it \(mode 0750\); `chmod 700"):
        claim(folder)
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    os.close(claim(folder))


def test_a_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "arena").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="is a link"):
        claim(tmp_path / "arena")
