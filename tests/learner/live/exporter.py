"""`python exporter.py MODEL FOLDER DEVICE`: serves a model's weights from an arena with plain torch.

Says "ready", then answers each line of stdin, a JSON list of token ids: log-probabilities after the last.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from learner.live.arena import Arena, place
from learner.live.control import PAGE, ControlPage
from learner.live.folder import claim
from learner.live.manifest import (
    Checkpoint,
    Manifest,
    Run,
    TensorEntry,
    process_started,
    write_manifest,
)


def export(model: PreTrainedModel, folder: Path, device: torch.device) -> Manifest:
    """Move every parameter into an arena, as it is, and announce it."""
    parameters = {name: p for name, p in model.named_parameters()}
    entries = {
        n: TensorEntry(offset=0, shape=tuple(p.shape), dtype=str(p.dtype)[6:]) for n, p in parameters.items()
    }
    placed, nbytes = place(entries, {n: p.nbytes for n, p in parameters.items()}, PAGE)
    if device.type == "cuda":
        arena = Arena.create_on_gpu(folder, nbytes, device)
    else:
        arena = Arena.create(folder, nbytes)
    for name, parameter in parameters.items():
        memory = arena.tensor(placed[name]).view(parameter.shape)
        parameter.data = memory.copy_(parameter.data)
    manifest = Manifest(
        generation=secrets.token_hex(8),
        model="plain",
        model_hash="0",
        pid=os.getpid(),
        started=process_started(os.getpid()) or 0,
        device=arena.device(),
        nbytes=nbytes,
        prefix_caching=False,
        control=TensorEntry(offset=0, shape=(PAGE // 8,), dtype="int64"),
        steering=TensorEntry(offset=nbytes, shape=(0, 1), dtype="bfloat16"),
        tensors=placed,
        hf={n: (Run(tensor=n, source=0, start=0, count=p.numel()),) for n, p in parameters.items()},
        checkpoint={n: Checkpoint(shape=e.shape, dtype=e.dtype) for n, e in entries.items()},
    )
    ControlPage(memoryview(arena.map)).format(manifest.generation, "base", 0)
    write_manifest(folder, manifest)
    return manifest


def main(checkpoint: Path, folder: Path, device: torch.device) -> None:
    """Serve until stdin ends."""
    claim(folder)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).eval().to(device)
    export(model, folder, device)
    print("ready", flush=True)
    for line in sys.stdin:
        with torch.no_grad():
            logits = model(torch.tensor([json.loads(line)], device=device)).logits[0, -1]
        print(json.dumps(logits.float().log_softmax(-1).tolist()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), torch.device(sys.argv[3]))
