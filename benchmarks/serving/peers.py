"""How others bring new weights to a server, here, from weights in memory to the first new token."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.serving.servers import NAME, Server, running
from policies.errors import Unreachable

RANK = 64
_ROUNDS = 5


def lora_swap_ms(model_dir: Path, folder: Path) -> dict[str, object]:
    """Save a LoRA adapter, load it into the running server by name, ask with it (vLLM's runtime updating)."""
    extra = ("--enable-lora", "--max-lora-rank", str(RANK), "--max-loras", "2")
    environment = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}

    def swaps(server: Server) -> list[float]:
        return [_swap(server, model_dir, folder, number) for number in range(_ROUNDS)]

    return _measured(model_dir, folder / "lora", swaps, extra, environment)


def reload_ms(model_dir: Path, folder: Path) -> dict[str, object]:
    """Save the checkpoint and let the stock server load it again in place (its developer endpoints)."""
    copy = folder / "checkpoint"
    shutil.copytree(model_dir, copy)

    def reloads(server: Server) -> list[float]:
        times = []
        for _ in range(_ROUNDS):
            began = time.monotonic()
            _save_again(copy)
            _call(server, "pause", mode="keep")
            _call(server, "collective_rpc", json={"method": "reload_weights"})
            _call(server, "resume")
            _ask(server, NAME)
            times.append(time.monotonic() - began)
        return times

    return _measured(copy, folder / "reload", reloads, (), {"VLLM_SERVER_DEV_MODE": "1"})


def restart_ms(model_dir: Path, folder: Path) -> dict[str, object]:
    """Save the checkpoint and start a server with it, until its first token."""
    copy = folder / "restarted"
    shutil.copytree(model_dir, copy)
    began = time.monotonic()
    _save_again(copy)
    with running(copy, folder / "restart", live=False) as server:
        _ask(server, NAME)
        return {"ms": round(1e3 * (time.monotonic() - began), 1), "n": 1}


def _measured(
    model_dir: Path,
    folder: Path,
    measure: Callable[[Server], list[float]],
    extra: tuple[str, ...],
    environment: dict[str, str],
) -> dict[str, object]:
    """Return the median of a way; where this build cannot go it, the reason."""
    try:
        with running(model_dir, folder, live=False, extra=extra, environment=environment) as server:
            _ask(server, NAME)
            times = measure(server)
    except (Unreachable, httpx.HTTPError) as error:
        return {"ms": None, "reason": f"does not run here: {str(error).splitlines()[0]}"}
    return {"ms": round(1e3 * median(times), 1), "n": len(times)}


def _swap(server: Server, model_dir: Path, folder: Path, number: int) -> float:
    weights = _adapter(model_dir)
    began = time.monotonic()
    path = folder / f"adapter{number}"
    path.mkdir(parents=True)
    save_file(weights, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps(_ADAPTER))
    _call(server, "v1/load_lora_adapter", json={"lora_name": path.name, "lora_path": str(path)})
    _ask(server, path.name)
    return time.monotonic() - began


_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ADAPTER = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": RANK,
    "lora_alpha": RANK,
    "target_modules": list(_PROJECTIONS),
    "bias": "none",
}


def _adapter(model_dir: Path) -> dict[str, Tensor]:
    """A random adapter for all projections of all layers."""
    weights = {}
    for name, weight in load_file(model_dir / "model.safetensors").items():
        if name.removesuffix(".weight").endswith(_PROJECTIONS):
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            weights[f"{stem}.lora_A.weight"] = torch.randn(RANK, columns, dtype=torch.bfloat16) * 0.01
            weights[f"{stem}.lora_B.weight"] = torch.randn(rows, RANK, dtype=torch.bfloat16) * 0.01
    return weights


def _save_again(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path), path.with_suffix(".new"), metadata={"format": "pt"})
    path.with_suffix(".new").replace(path)


def _call(server: Server, path: str, json: object = None, **query: str) -> None:
    httpx.post(f"{server.url}/{path}", json=json, params=query, timeout=300).raise_for_status()


def _ask(server: Server, model: str) -> None:
    body = {"model": model, "prompt": "The capital of France is", "max_tokens": 1, "temperature": 0}
    httpx.post(f"{server.url}/v1/completions", json=body, timeout=300).raise_for_status()
