"""Two processes on one set of weights, with plain torch: what one writes, the other computes with.

The same tests run on a CPU, where the arena is a file, and on a GPU, where it is a block of its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import build

from learner.live import cuda
from learner.live.arena import Arena
from learner.live.client import LiveWeights
from learner.live.views import model_on, move_onto
from learner.model import load_model
from learner.rounding import noise_key, stochastic_round, stochastic_round_in_torch
from learner.trainer import Trainer
from policies.config import TrainingConfig
from policies.errors import ConfigError, Unreachable, UnsupportedModel
from policies.example import Example

PROMPT = [5, 6, 7, 8]
gpu = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
)
DEVICES = ("cpu", pytest.param("cuda:0", marks=gpu))


class Exporter:
    """The program exporter.py in a process of its own."""

    def __init__(self, model: Path, folder: Path, device: str) -> None:
        command = [
            sys.executable,
            str(Path(__file__).with_name("exporter.py")),
            str(model),
            str(folder),
            device,
        ]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        self.folder = folder
        self.process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._line() == "ready\n"

    def log_probs(self) -> list[float]:
        """What it computes now."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(PROMPT) + "\n")
        self.process.stdin.flush()
        numbers: list[float] = json.loads(self._line())
        return numbers

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama-tied-biased", tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module", params=DEVICES)
def exporter(
    request: pytest.FixtureRequest, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    program = Exporter(model_dir, tmp_path_factory.mktemp("exporter") / "arena", request.param)
    yield program
    program.kill()


@pytest.fixture
def live(exporter: Exporter) -> Iterator[LiveWeights]:
    attached = LiveWeights.attach(exporter.folder)
    yield attached
    attached.close()


def test_a_write_is_computed_with_and_a_restore_is_bit_for_bit(exporter: Exporter, live: LiveWeights) -> None:
    before, bytes_before = exporter.log_probs(), live.fingerprint()
    kept = {name: live.read(name) for name in live.names}
    with live.publishing("v", 1):
        for name, value in kept.items():
            live.write(name, (value.float() * 1.5 + 0.1).cpu())
    assert exporter.log_probs() != before
    with live.publishing("base", 0):
        for name, value in kept.items():
            live.write(name, value)
    assert exporter.log_probs() == before
    assert live.fingerprint() == bytes_before


def test_the_learners_model_is_the_live_memory(
    exporter: Exporter, live: LiveWeights, model_dir: Path
) -> None:
    model = model_on(live, model_dir)
    for name, parameter in model.named_parameters():
        view = live.view(name)
        assert view is not None
        assert parameter.data_ptr() == view.data_ptr(), name
    assert model.lm_head.weight is model.get_input_embeddings().weight
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT], device=device)).logits[0, -1].float()
    assert torch.allclose(logits.log_softmax(-1).cpu(), torch.tensor(exporter.log_probs()), atol=1e-3)


@torch.no_grad()
def test_a_step_in_place_with_stochastic_rounding_reaches_the_server(
    exporter: Exporter, live: LiveWeights, model_dir: Path
) -> None:
    before = exporter.log_probs()
    model = model_on(live, model_dir)
    for name, parameter in model.named_parameters():
        exact = parameter.float() + 1e-3 * torch.randn_like(parameter, dtype=torch.float32)
        key = noise_key(0, name, 1)
        with live.publishing("v", 1):
            parameter.copy_(stochastic_round(exact, key))
        assert torch.equal(live.read(name).cpu(), stochastic_round_in_torch(exact.cpu(), key)), name
    assert live.position().version == "v"
    assert exporter.log_probs() != before


@pytest.mark.parametrize("device", DEVICES)
def test_a_dead_server_is_noticed_and_the_next_one_is_taken_over(
    device: str, model_dir: Path, tmp_path: Path
) -> None:
    first = Exporter(model_dir, tmp_path / "arena", device)
    ghost = LiveWeights.attach(tmp_path / "arena")
    model = model_on(ghost, model_dir)
    norm = dict(model.named_parameters())["model.norm.weight"]
    first.kill()
    assert not ghost.is_current()
    with pytest.raises(Unreachable, match="is gone"):
        LiveWeights.attach(tmp_path / "arena", exclusive=False)
    following = Exporter(model_dir, tmp_path / "arena", device)
    try:
        with pytest.raises(Unreachable, match="is gone"), ghost.publishing("v", 1):
            raise AssertionError("the body of a publication to a ghost must not run")
        again = LiveWeights.attach(tmp_path / "arena")  # the ghost's lock was on the old manifest
        move_onto(model, again)
        before = following.log_probs()
        with again.publishing("v", 1), torch.no_grad():
            norm.mul_(torch.linspace(0, 2, norm.numel(), device=norm.device))
        assert following.log_probs() != before
        again.close()
        ghost.close()
    finally:
        following.kill()


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_step_is_taken_in_the_live_memory(
    device: str, tiny_qwen35_path: Path, tmp_path: Path
) -> None:
    exporter = Exporter(tiny_qwen35_path, tmp_path / "arena", device)
    live = LiveWeights.attach(tmp_path / "arena")
    base, tokenizer = load_model(tiny_qwen35_path, torch.bfloat16)
    model = model_on(live, tiny_qwen35_path)
    config = TrainingConfig(max_replay_tokens=4)
    trainer = Trainer(model, tokenizer, base.to(device), config, seed=0, keep_remainder=False)
    asked = ({"role": "user", "content": "What is a lake?"},)
    example = Example(id="g", kind="general", context=asked, chosen="Still water.", origin="base")
    gradients, before = trainer.backward(trainer.rows_for(example)), exporter.log_probs()
    with live.publishing("v", 1):
        assert trainer.apply(gradients, 0.05, live.write).changed_bytes > 0
    for name, parameter in trainer.parameters.items():
        view = live.view(name)
        assert view is not None
        assert parameter.data_ptr() == view.data_ptr(), name
    assert exporter.log_probs() != before
    live.close()
    exporter.kill()


def test_a_gpu_that_this_process_does_not_see_is_named(live: LiveWeights) -> None:
    uuid = "GPU-00000000-0000-0000-0000-000000000000"
    device = {"uuid": uuid, "handle": "00" * cuda.HANDLE_BYTES}
    foreign = type(live.manifest).model_validate(live.manifest.model_dump() | {"device": device})
    with pytest.raises(ConfigError, match=f"lie on GPU {uuid}.*CUDA_VISIBLE_DEVICES"):
        Arena.open(live.folder, foreign)


def test_packed_weights_are_no_views(live: LiveWeights, model_dir: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    entries = live.manifest.tensors
    packed = entries | {name: entries[name].model_copy(update={"layout": "vnni32"})}
    parts = [(live.manifest.model_copy(update={"tensors": packed}), live._parts[0][1])]
    with pytest.raises(UnsupportedModel, match=rf"{name}: the server keeps it packed"):
        model_on(LiveWeights(live.folder, parts, None), model_dir)
