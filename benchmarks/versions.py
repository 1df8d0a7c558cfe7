"""What a durable version takes: bytes and time, beside the full bf16 file. Last line: a JSON object.

`python -m benchmarks.versions --json`: SmolLM2 is trained for `--steps` steps; its weights and the trainer's
state are written and read `--repeats` times, each with every byte on disk before the clock stops. The full
file is `safetensors.torch.save_file` of the same tensors, written as durably.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from learner.archive import Archive
from learner.base_model import model_hash, resolve_model
from learner.model import load_model
from learner.trainer import Trainer
from learner.versioning.files import publish
from policies.config import TrainingConfig
from policies.example import Example
from store.versions import Version

_DIRECTION = 'Reply only with JSON of the form {"answer": "..."}.'
_WORDS = ("lake", "river", "pond", "well", "sea", "brook", "bay", "fjord")


def measure(model_dir: Path, folder: Path, steps: int, repeats: int) -> dict[str, Any]:
    """Train, then write and read in turn. Sizes in bytes, times in ms (medians)."""
    trainer = _trained(model_dir, steps)
    weights = {name: p.detach().to(torch.bfloat16) for name, p in trainer.parameters.items()}
    archive = Archive(folder / "versions", model_dir, model_hash(model_dir))
    state = trainer.state(copy=False)
    times: dict[str, list[float]] = {}
    for number in range(repeats):
        stored = _timed(times, "save_ms", lambda: archive.save("v", weights.__getitem__, weights))
        saved = _timed(times, "save_state_ms", lambda: archive.save_trainer("v", state, weights.__getitem__))
        version = Version.model_validate(
            {"id": "v", "parent": None, "kind": "train", "first_step": 1, "last_step": steps, "created": 0}
            | {"file": stored.file, "sha256": stored.sha256, "fingerprint": ""}
            | {"trainer": saved.file, "trainer_sha256": saved.sha256}
        )
        found = _timed(times, "restore_ms", lambda: dict(archive.tensors(version, weights)))  # noqa: B023
        read = _timed(times, "restore_state_ms", lambda: archive.trainer(version, weights.__getitem__))  # noqa: B023
        full = _timed(times, "save_full_ms", lambda: _save_full(folder, weights))
        _timed(times, "restore_full_ms", lambda: load_file(full))  # noqa: B023
        assert all(torch.equal(found[n].view(torch.int16), w.view(torch.int16)) for n, w in weights.items())
        assert all(torch.equal(read.tensors[name], value) for name, value in state.tensors.items())
        print(f"repeat {number + 1} of {repeats}", file=sys.stderr)
    changed = sum(_moved(value, base) for (_, value), (_, base) in _pairs(archive, version, weights))
    whole = sum(value.nbytes for value in state.tensors.values())
    return {
        "steps": steps,
        "n": repeats,
        "changed_share": changed / sum(w.numel() for w in weights.values()),
        "bytes": stored.bytes,
        "full_bytes": full.stat().st_size,
        "size_ratio": stored.bytes / full.stat().st_size,
        "state_bytes": saved.bytes,
        "state_ratio": saved.bytes / whole,
        **{name: round(median(found), 1) for name, found in times.items()},
    }


def _trained(model_dir: Path, steps: int) -> Trainer:
    model, tokenizer = load_model(model_dir)
    trainer = Trainer(model, tokenizer, load_model(model_dir)[0], TrainingConfig(), 0)
    examples = [_example(word) for word in _WORDS]
    for number in range(steps):
        pair = (examples[number % len(examples)], examples[(number + 3) % len(examples)])
        rows = [row for example in pair for row in trainer.rows_for(example)]
        trainer.step(rows, trainer.config.learning_rate, lambda *_: None)
        print(f"step {number + 1} of {steps}", file=sys.stderr)
    return trainer


def _example(word: str) -> Example:
    question = {"role": "user", "content": f"What is a {word}?"}
    return Example(
        id=word,
        kind="correction",
        direction=_DIRECTION,
        context=({"role": "system", "content": _DIRECTION}, question),
        twin_context=(question,),
        chosen=f'{{"answer": "A {word} is water."}}',
        rejected=f"A {word} is a body of water.",
        origin="correction",
    )


def _save_full(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    save_file(weights, folder / "full.partial")
    publish(folder / "full.partial", folder / "full.safetensors")
    return folder / "full.safetensors"


def _pairs(archive: Archive, version: Version, names: dict[str, torch.Tensor]) -> Any:
    return zip(archive.tensors(version, names), archive.base(names), strict=True)


def _moved(value: torch.Tensor, base: torch.Tensor) -> int:
    return int((value != base).sum())


def _timed(times: dict[str, list[float]], name: str, call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = call()
    times.setdefault(name, []).append((time.perf_counter() - began) * 1000)
    return result


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON only (progress goes to stderr)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model_dir = resolve_model(arguments.model, lambda what, share: print(what, share, file=sys.stderr))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(model_dir, Path(folder), arguments.steps, arguments.repeats)
    machine = {"machine": platform.processor() or platform.machine(), "threads": 1}
    print(json.dumps({"model": arguments.model, **found, **machine}))


if __name__ == "__main__":
    main()
