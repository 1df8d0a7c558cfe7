"""Which memory the learner computes with; the GPU's side is in live/test_views.py."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.computing import load_models
from learner.live.manifest import Manifest
from policies.errors import Interrupted


def test_without_a_gpu_the_models_are_copies_and_nobody_waits(tiny_qwen35_path: Path, tmp_path: Path) -> None:
    models = load_models(tiny_qwen35_path, tmp_path / "no server yet", lambda: False)
    assert not models.on_live
    weights = zip(models.model.parameters(), models.base.parameters(), strict=True)
    assert all(torch.equal(one, other) and one.data_ptr() != other.data_ptr() for one, other in weights)


def test_with_a_gpu_the_server_is_waited_for_and_may_be_on_the_cpu(
    arena_of: Callable[..., Manifest],
    owner: Any,
    tiny_qwen35_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = threading.Event()

    def stopped() -> bool:
        if asked.is_set() and not (tmp_path / "arena").exists():
            arena_of(owner.process.pid)  # the server comes while the learner waits
        asked.set()
        return False

    assert not load_models(tiny_qwen35_path, tmp_path / "arena", stopped).on_live
    with pytest.raises(Interrupted, match="waiting for the server"):
        load_models(tiny_qwen35_path, tmp_path / "none", lambda: True)
