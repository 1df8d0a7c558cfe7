"""Steering under torch.compile: the hooks are traced into the graph, and the buffer stays live."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from learner.live.control import PAGE
from learner.live.steering import silence, steer


class Layers(nn.Module):
    """Two layers as vLLM's: each returns a change and the residual, whose sum is the stream."""

    class Layer(nn.Module):
        def forward(self, change: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
            stream = change + residual
            return torch.tanh(stream), stream

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self.Layer(), self.Layer()])

    def forward(self, residual: Tensor) -> Tensor:
        change = torch.zeros_like(residual)
        for layer in self.layers:
            change, residual = layer(change, residual)
        return change + residual


def test_a_compiled_graph_adds_what_the_buffer_says_whatever_the_control_page_does() -> None:
    model, page = Layers(), bytearray(PAGE)
    buffer = torch.empty(2, 8, dtype=torch.bfloat16)
    plain = model(torch.ones(3, 8, dtype=torch.bfloat16))
    steer(model, buffer, memoryview(page))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(3, 8, dtype=torch.bfloat16)), plain)
    buffer[1] = 2.0  # the word of the page still says that nothing steers: a graph does not look
    torch.testing.assert_close(compiled(torch.ones(3, 8, dtype=torch.bfloat16)), plain + 2.0)
    assert torch.equal(model(torch.ones(3, 8, dtype=torch.bfloat16)), plain), "eager looks"
    silence(buffer)
    assert torch.equal(compiled(torch.ones(3, 8, dtype=torch.bfloat16)), plain)


@pytest.mark.slow
def test_a_compiled_engine_is_steered_and_off_is_bit_identical(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    arena = Path("/dev/shm") / f"heedloop-tests-{os.getpid()}-compiled"
    environment = os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_USE_AOT_COMPILE": "0",
        "VLLM_CPU_CI_ENV": "1",  # traces as always, and runs the graph without compiling C++
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    script = Path(__file__).with_name("compiled_engine.py")
    try:
        done = subprocess.run(  # noqa: PLW1510 - its words are shown below
            [sys.executable, str(script), str(tmp_path / "model"), str(arena)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=590,
        )
    finally:
        shutil.rmtree(arena, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["mode"] == "DYNAMO_TRACE_ONCE"
    assert found["during"] != found["before"]
    assert found["after"] == found["before"]
