"""A learner that is killed with -9 anywhere goes on as if nothing had been: the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_system
from small_system import CONFIG, CORRECTIONS, fill, serve

from store import versions
from store.database import open_store

KILLS = (
    ("begin", 2),  # before the intent of a step: between two steps
    ("write", 30),  # in the middle of writing a step into the arena
    ("confirm", 4),  # the step is in the arena, its row is not
    ("save", 2),  # after the probe, before the version's file
    ("save_trainer", 1),  # the weights are on disk, the trainer's state is not
    ("add", 1),  # both are, the row is not
    ("point", 1),  # the row is, the pointer of a starting server is not
    ("mark", 4),
    ("_record", 2),  # a version boundary: all of it is durable
)


@pytest.fixture
def served(model_dir: Path, tmp_path: Path, owner: Any) -> Callable[[], str]:
    """Start (again) what counts as the server; there are examples to learn."""
    store = open_store(tmp_path / "home")
    fill(store)
    store.close()
    return lambda: serve(tmp_path, model_dir, owner.process.pid)


def learn(folder: Path, model_dir: Path, kill: tuple[str, int] | None = None) -> int | None:
    """Learn in a process of its own. Returns its exit code, negative for a signal."""
    return small_system.in_process_of_its_own(small_system.learn, folder, model_dir, kill)


@pytest.fixture(scope="module")
def undisturbed(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Any]]:
    """The fingerprint that an undisturbed run ends with, and its confirmed batches."""
    folder = tmp_path_factory.mktemp("undisturbed")
    store = open_store(folder / "home")
    fill(store)
    serve(folder, model_dir, os.getpid())
    store.close()
    assert learn(folder, model_dir) == 0
    return (folder / "fingerprint").read_text(), confirmed(folder)


def confirmed(folder: Path) -> list[Any]:
    """Return the batches that count: learning rate, and which example in which slot, in order."""
    store = open_store(folder / "home")
    rows = store.rows(
        "SELECT s.learning_rate, group_concat(r.kind || r.example_id, ',') AS batch, s.loss FROM steps s"
        " JOIN step_rows r ON r.step_id = s.id WHERE s.state = 'confirmed' GROUP BY s.id ORDER BY s.id"
    )
    found = [tuple(row) for row in rows]
    store.close()
    return found


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill[0]}-{kill[1]}")
def test_a_killed_learner_ends_with_the_weights_of_one_that_was_not(
    kill: tuple[str, int],
    served: Callable[[], str],
    undisturbed: tuple[str, list[Any]],
    model_dir: Path,
    tmp_path: Path,
) -> None:
    served()
    assert learn(tmp_path, model_dir, kill) == -signal.SIGKILL
    assert learn(tmp_path, model_dir) == 0
    assert confirmed(tmp_path) == undisturbed[1]
    assert (tmp_path / "fingerprint").read_text() == undisturbed[0]
    store = open_store(tmp_path / "home")
    uses = store.rows(
        "SELECT count(*) AS n FROM step_rows r JOIN steps s ON s.id = r.step_id"
        " WHERE r.kind = 'correction' AND s.state = 'confirmed' GROUP BY r.example_id"
    )
    assert [row["n"] for row in uses] == [CONFIG.training.uses_per_example] * CORRECTIONS
    assert store.row("SELECT count(*) FROM steps WHERE state = 'intent'")[0] == 0
    kept = {name for v in versions.every(store) if v.state == "good" for name in (v.file, v.trainer)}
    assert {p.name for p in (tmp_path / "home" / "versions").iterdir()} == (kept - {None}) | {"live.json"}
    store.close()
