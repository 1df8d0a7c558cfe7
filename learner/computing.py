"""The models that the learner computes with: copies beside a CPU server, the live memory itself on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.live.client import LiveWeights
from learner.live.cuda import device_of
from learner.live.manifest import read_manifest
from learner.live.views import model_on
from learner.model import load_model
from policies.errors import Interrupted, Unreachable, UnsupportedModel

_ASK_EVERY_S = 0.5


@dataclass(frozen=True)
class Models:
    """`model` is trained, `base` is the frozen reference. `on_live`: the model's parameters are the live
    memory itself, and its steps are taken there.
    """

    model: PreTrainedModel
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    on_live: bool


def load_models(folder: Path, arena: Path, stopped: Callable[[], bool]) -> Models:
    """Load what fits the server's device. Where this process sees a GPU, the server must have started first.

    Raises Interrupted when `stopped` says so meanwhile.
    """
    device = _gpu_of_server(arena, stopped) if torch.cuda.is_available() else None
    if device is None:
        base, tokenizer = load_model(folder)
        return Models(load_model(folder)[0], base, tokenizer, on_live=False)
    base, tokenizer = load_model(folder, torch.bfloat16)
    live = LiveWeights.attach(arena, exclusive=False)
    try:
        return Models(model_on(live, folder), base.to(device), tokenizer, on_live=True)
    except UnsupportedModel:  # spread over several GPUs: the learner's copy is written through
        model, _ = load_model(folder, torch.bfloat16)
        return Models(model.to(device), base.to(device), tokenizer, on_live=False)
    finally:
        live.close()


def _gpu_of_server(arena: Path, stopped: Callable[[], bool]) -> torch.device | None:
    """Wait for the server, and name the GPU of its weights; None when they lie on the CPU."""
    while not stopped():
        try:
            manifest = read_manifest(arena)
            if manifest.owner_alive():
                return None if manifest.device is None else device_of(manifest.device.uuid)
        except Unreachable:
            pass  # not yet
        time.sleep(_ASK_EVERY_S)
    raise Interrupted("stopped while waiting for the server's weights")
