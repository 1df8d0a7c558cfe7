"""One training step of the embedded model, taken apart. Last line: one JSON object.

`python -m benchmarks.step --steps 8`: batches of two corrections, one twin, one general row, as the demo has
them. The rounded bytes go to a sink that drops them: the figures are the learner's own, without the arena.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from statistics import median

import torch

from learner.base_model import resolve_model
from learner.model import load_model
from learner.trainer import Trainer
from policies.config import TrainingConfig
from policies.example import Example

DIRECTION = 'Reply only with JSON of the form {"answer": "..."}.'
QUESTIONS = ("What is a lake?", "Why do we sleep?", "How do I boil an egg?", "What is a bank for?")


def correction(question: str) -> Example:
    """Return a correction of the demo's kind."""
    asked = {"role": "user", "content": question}
    return Example(
        id=question,
        kind="correction",
        direction=DIRECTION,
        context=({"role": "system", "content": f"You are a helpful assistant. {DIRECTION}"}, asked),
        twin_context=({"role": "system", "content": "You are a helpful assistant."}, asked),
        chosen=json.dumps({"answer": "It is something that most people know from every day."}),
        rejected="It is something that most people know from every day.",
        origin="correction",
    )


def general() -> Example:
    """Return a general row."""
    context = ({"role": "user", "content": "What is a harbor?"},)
    answer = "A harbor is a place on the coast where ships can lie safely."
    return Example(id="general", kind="general", context=context, chosen=answer, origin="base")


def main() -> None:
    """Measure, print a line for each step, and the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = resolve_model("smollm2", lambda what, share: sys.stderr.write(f"{what} {share:.0%}\n"))
    model, tokenizer = load_model(path)
    base, _ = load_model(path)
    trainer = Trainer(model, tokenizer, base, TrainingConfig(), 0)
    began = time.monotonic()
    pairs = [trainer.rows_for(correction(question)) for question in QUESTIONS]
    replay = trainer.rows_for(general())
    prepared = time.monotonic() - began
    backward, applied, changed = [], [], 0
    for step in range(arguments.steps):
        first, second = pairs[step % 4], pairs[(step + 1) % 4]
        gradients = trainer.backward([first[0], second[0], first[1], replay[0]])
        done = trainer.apply(gradients, 1e-5, lambda name, values: None)
        backward.append(gradients.seconds)
        applied.append(done.seconds)
        changed = done.changed_bytes
        sys.stderr.write(f"step {step}: backward {gradients.seconds:.2f} s, apply {done.seconds:.2f} s\n")
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread",
                "prepare_s": round(prepared, 3),
                "backward_s": round(median(backward), 3),
                "apply_s": round(median(applied), 3),
                "step_s": round(median(b + a for b, a in zip(backward, applied, strict=True)), 3),
                "changed_bytes": changed,
                "steps": arguments.steps,
            }
        )
    )


if __name__ == "__main__":
    main()
