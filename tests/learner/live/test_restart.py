"""The lives of real engines in one folder: a kill, a restart, a second server. No ghost is written."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import build

from learner.live.client import LiveWeights
from learner.live.manifest import NAME, process_started
from policies.errors import Unreachable

WEIGHT = "model.layers.0.self_attn.k_proj.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen2", tmp_path_factory.mktemp("restart") / "model")


@pytest.fixture
def serve(engines: Any, model: Path, tmp_path: Path) -> Iterator[Callable[[], int]]:
    """Start an engine in the one folder; returns its process id."""
    started: list[int] = []

    def start() -> int:
        started.append(engines.hold(model, tmp_path / "arena"))
        return started[-1]

    yield start
    for pid in started:
        kill(pid)


def kill(pid: int) -> None:
    """End an engine as a crash would, and wait until the kernel has it down as dead."""
    if process_started(pid) is not None:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while process_started(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process_started(pid) is None


def test_a_killed_server_is_noticed_and_the_next_one_starts_from_its_own_weights(
    serve: Callable[[], int], model: Path, tmp_path: Path
) -> None:
    folder, base = tmp_path / "arena", load_file(model / "model.safetensors")
    first = serve()
    ghost = LiveWeights.attach(folder)
    with ghost.publishing("v", 1):
        ghost.write(WEIGHT, base[WEIGHT] * 2)
    kill(first)
    assert not ghost.is_current()
    with pytest.raises(Unreachable, match=f"pid {first}.* is gone"):
        LiveWeights.attach(folder, exclusive=False)
    before = ghost.fingerprint()
    with pytest.raises(Unreachable, match="is gone"), ghost.publishing("v", 2):
        ghost.write(WEIGHT, base[WEIGHT])
    serve()
    with pytest.raises(Unreachable, match="is gone"), ghost.publishing("v", 2):
        ghost.write(WEIGHT, base[WEIGHT])
    assert ghost.fingerprint() == before
    live = LiveWeights.attach(folder)
    assert live.generation != ghost.generation
    assert torch.equal(live.read(WEIGHT), base[WEIGHT])
    assert (live.position().version, live.position().epoch) == ("base", 0)
    live.close()
    ghost.close()


def test_a_second_server_in_the_folder_is_refused_and_the_first_serves_on(
    serve: Callable[[], int], engines: Any, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "arena"
    serve()
    live = LiveWeights.attach(folder)
    files = {path.name: path.stat().st_ino for path in folder.iterdir()}
    refusal = engines.refusal(model, folder)
    assert refusal.startswith("GuardRefused:")
    assert "another server, which is alive, has this arena; give each its own" in refusal
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == files
    assert NAME in files
    assert live.is_current()
    with live.publishing("v", 1):
        live.write(WEIGHT, live.read(WEIGHT))
    live.close()
