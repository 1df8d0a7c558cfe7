"""`run.py doctor --model`: a real server, started, proven and ended; and why one did not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import build, build_seeing
from transformers import AutoTokenizer

RUN = Path(__file__).parents[3] / "run.py"
NAMES = ["server", "map", "values", "logits", "seen", "write", "read back", "restore", "steering"]


def doctor(home: Path, model: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HEEDLOOP_HOME": str(home)} | environment
    command = [sys.executable, str(RUN), "doctor", "--model", str(model), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=False)


def arenas() -> set[Path]:
    return set(Path("/dev/shm").glob("heedloop-doctor-*"))


def passed(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = {check["name"]: check for check in json.loads(ended.stdout)}
    assert list(found) == NAMES
    assert {check["verdict"] for check in found.values()} == {"ok"}
    return found


def test_a_model_is_proven_in_a_server_that_ends_with_it(home: Path, tiny_qwen35_path: Path) -> None:
    before = arenas()
    found = passed(doctor(home, tiny_qwen35_path, "--json"))
    assert "56 tensors" in found["map"]["detail"]
    assert arenas() <= before


@pytest.mark.slow
def test_two_ranks_are_proven_as_one(home: Path, smollm2_path: Path, tmp_path: Path) -> None:
    model = build("qwen35", tmp_path / "model", vocab_size=49155)  # padded, and split between the ranks
    AutoTokenizer.from_pretrained(smollm2_path).save_pretrained(model)
    ranks = {"HEEDLOOP_SERVER__EXTRA_ARGS": '["--tensor-parallel-size", "2"]'}
    found = passed(doctor(home, model, "--json", VLLM_CPU_OMP_THREADS_BIND="nobind", **ranks))
    assert "in 2 rank(s)" in found["map"]["detail"]


@pytest.mark.slow
def test_a_model_that_can_also_see_is_proven_as_its_text_part(
    home: Path, smollm2_path: Path, tmp_path: Path
) -> None:
    model = build_seeing(tmp_path / "model", vocab_size=49155)
    AutoTokenizer.from_pretrained(smollm2_path).save_pretrained(model)
    found = passed(doctor(home, model, "--json"))
    assert "leaves 33 of the checkpoint out, such as model.visual." in found["map"]["detail"]


@pytest.mark.slow
def test_a_server_that_refuses_is_a_failed_check_with_the_reason(home: Path, tiny_qwen35_path: Path) -> None:
    drafter = json.dumps({"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2})
    told = json.dumps(["--speculative-config", drafter])
    ended = doctor(home, tiny_qwen35_path, HEEDLOOP_SERVER__EXTRA_ARGS=told)
    assert ended.returncode == 1
    assert "cannot be learned as it is" in ended.stdout
    assert "speculative decoding" in " ".join(ended.stdout.split())
    assert "server: failed" in ended.stderr


def test_a_model_that_cannot_be_live_is_one_line(home: Path, tmp_path: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "awq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ended = doctor(home, tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "quantised weights cannot be live" in ended.stderr
    assert "Traceback" not in ended.stderr
