"""A small arena of our own making, served by a process that does nothing: for what needs no vLLM."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from small_system import make_model

from learner.live.arena import Arena, place
from learner.live.control import PAGE, ControlPage
from learner.live.manifest import Checkpoint, Manifest, Run, TensorEntry, process_started, write_manifest
from learner.live.steering import silence


@dataclass(frozen=True)
class Owner:
    """The process that counts as the server; `kill` ends it."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owner() -> Iterator[Owner]:
    idle = Owner(
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    )
    yield idle
    idle.kill()
    if idle.process.stdin is not None:
        idle.process.stdin.close()


@pytest.fixture(scope="module")
def model_dir(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a random model of two narrow layers (`small_system`)."""
    return make_model(tmp_path_factory.mktemp("small") / "model", smollm2_path)


@pytest.fixture
def arena_of(tmp_path: Path) -> Callable[..., Manifest]:
    """Make an arena in tmp_path / "arena": a head kept twice, q and k stacked and packed, a norm, a
    convolution.
    """

    def make(pid: int, **fields: object) -> Manifest:
        folder = tmp_path / "arena"
        folder.mkdir(mode=0o700, exist_ok=True)
        shapes = {
            "head": (96, 64),
            "head#packed": (96, 64),
            "qk": (64, 64),
            "norm": (64,),
            "conv": (64, 1, 4),
        }
        layouts = {"head#packed": "vnni32", "qk": "vnni32", "conv": "conv32"}
        entries = {
            name: TensorEntry.model_validate(
                {"offset": 0, "shape": shape, "dtype": "float32" if name == "norm" else "bfloat16"}
                | {"layout": layouts.get(name, "plain")}
                | {"copy_of": "head" if name == "head#packed" else None}
            )
            for name, shape in shapes.items()
        }
        tensors, used = place(entries, dict.fromkeys(entries, 96 * 64 * 2), PAGE)
        steering = TensorEntry(offset=0, shape=(2, 64), dtype="bfloat16")
        reserved, nbytes = place({"": steering}, {"": 2 * 64 * 2}, used)
        runs = {
            "head.weight": Run(tensor="head", source=0, start=0, count=70 * 64),  # 26 rows of padding
            "q.weight": Run(tensor="qk", source=0, start=0, count=24 * 64),  # ends inside a block of 32 rows
            "k.weight": Run(tensor="qk", source=0, start=24 * 64, count=40 * 64),
            "norm.weight": Run(tensor="norm", source=0, start=0, count=64),
            "conv.weight": Run(tensor="conv", source=0, start=0, count=64 * 4),
        }
        hf_shapes = {"head": (70, 64), "q": (24, 64), "k": (40, 64), "norm": (64,), "conv": (64, 1, 4)}
        manifest = Manifest.model_validate(
            {
                "generation": secrets.token_hex(8),
                "model": "none",
                "model_hash": "0",
                "pid": pid,
                "started": process_started(pid),
                "nbytes": nbytes,
                "prefix_caching": False,
                "control": TensorEntry(offset=0, shape=(512,), dtype="int64"),
                "steering": reserved[""],
                "tensors": tensors,
                "hf": {name: (run,) for name, run in runs.items()},
                "checkpoint": {
                    f"{n}.weight": Checkpoint(shape=shape, dtype="bfloat16") for n, shape in hf_shapes.items()
                },
            }
            | fields
        )
        arena = Arena.create(folder, nbytes)
        arena.bytes.zero_()
        silence(arena.tensor(manifest.steering))
        ControlPage(memoryview(arena.map)).format(manifest.generation, "base", 0)
        write_manifest(folder, manifest)
        return manifest

    torch.manual_seed(0)
    return make
