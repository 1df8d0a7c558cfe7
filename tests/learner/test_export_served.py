"""An exported version, served by stock vLLM, answers as the live server does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from learner.archive import Archive
from learner.live.durable import read_durable
from learner.serving import server_command, wait_until_ready
from learner.temporary_server import free_port
from learner.versioning.export import export
from policies.config import ServerConfig
from store.versions import Version

pytestmark = pytest.mark.slow

PROMPT = "The weather in the mountains was cold, and the river had frozen over before the first snow fell."
NEAR = 0.08
"""Nats: a stock server multiplies with another kernel in bfloat16 than the packed one of live weights."""


@contextmanager
def stock(model_dir: Path, folder: Path) -> Iterator[str]:
    """Run vLLM as it comes: no plugin's loader, scheduler or middleware."""
    port = free_port()
    config = ServerConfig(model="m")
    _, environment = server_command(config, model_dir, folder, folder, port)
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_dir)]
    argv += ["--served-model-name", "m", "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16"]
    argv += ["--max-model-len", "512", "--enforce-eager", "--no-enable-prefix-caching"]
    with (folder / "stock.log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", 300.0, lambda: process.poll() is None)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def answered(url: str, name: str) -> tuple[str, list[float]]:
    """Return a greedy answer, and the log-probability of each token of the prompt."""
    body = {"model": name, "prompt": PROMPT, "temperature": 0, "max_tokens": 8, "prompt_logprobs": 0}
    choice: dict[str, Any] = httpx.post(f"{url}/v1/completions", json=body, timeout=120).json()["choices"][0]
    found = [entry["logprob"] for token in choice["prompt_logprobs"][1:] for entry in token.values()]
    return choice["text"], found


def test_a_stock_server_gives_the_same_answers_and_log_probabilities(
    qwen35_server: Any, tmp_path: Path
) -> None:
    pointer = read_durable(qwen35_server.versions)
    archive = Archive(qwen35_server.versions, qwen35_server.model_dir, str(pointer.model_hash))
    fields = {
        "parent": None,
        "kind": "train",
        "first_step": 1,
        "last_step": 7,
        "fingerprint": "",
        "created": 0,
    }
    version = Version.model_validate(
        {"id": pointer.version, "file": pointer.file, "sha256": pointer.sha256, "created": 0, **fields}
    )
    export(archive, version, tmp_path / "exported")
    live_text, live = answered(qwen35_server.url, qwen35_server.name)
    with stock(tmp_path / "exported", tmp_path) as url:
        text, found = answered(url, "m")
    assert len(found) == len(live) > 10
    assert max(abs(a - b) for a, b in zip(found, live, strict=True)) < NEAR
    assert text == live_text
    with stock(qwen35_server.model_dir, tmp_path) as url:
        _, base = answered(url, "m")
    assert max(abs(a - b) for a, b in zip(base, live, strict=True)) > 4 * NEAR  # else nothing was shown
