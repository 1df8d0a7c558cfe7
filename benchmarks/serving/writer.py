"""The learner beside the server, for benchmarks: a process of its own that trains or writes when told to.

`python -m benchmarks.serving.writer MODEL ARENA`: one command a line on stdin, one JSON answer a line. It
trains with the trainer, the pacing and the write path of the product; only the store is left out.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.step import QUESTIONS, correction, general
from learner.live.client import LiveWeights
from learner.live.control import map_page
from learner.live.load import LoadWords
from learner.model import load_model
from learner.pacing import Pacer, pausing
from learner.rounding import noise_key, stochastic_round
from learner.tokens import Row
from learner.trainer import Trainer
from policies.config import ServingConfig, TrainingConfig

LEARNING_RATE = 1e-6
"""Small: the served text stays text however long the benchmark runs."""


class Writer:
    """The one writer of an arena, with a model to train."""

    def __init__(self, model_dir: Path, arena: Path) -> None:
        torch.set_num_threads(1)
        self._live = LiveWeights.attach(arena)
        model, tokenizer = load_model(model_dir)
        base, _ = load_model(model_dir)
        self._load = LoadWords(map_page(arena, write=True))
        self._pacer = Pacer(ServingConfig())
        self._pacer.paced(model)
        self._pacer.paced(base)
        self._trainer = Trainer(model, tokenizer, base, TrainingConfig(), 0)
        self._served = {name: self._live.read(name) for name in self._live.names}
        self._batches = list(self._rows())
        self._steps = 0

    def train(self, told: Callable[[], bool]) -> dict[str, Any]:
        """Take steps on the live weights until told otherwise, at the pace of the product."""
        self._pacer.attach(self._load)
        try:
            return self.hurry(told)
        finally:
            self._pacer.idle()
            self._pacer.attach(None)

    def hurry(self, told: Callable[[], bool]) -> dict[str, Any]:
        """Take steps without a rest, where `train` did not ask for them."""
        began, first = time.monotonic(), self._steps
        write = pausing(self._live.write, self._pacer)
        while not told():
            self._steps += 1
            gradients = self._trainer.backward(self._batches[self._steps % len(self._batches)])
            with self._live.publishing("benchmark", self._steps):
                self._trainer.apply(gradients, LEARNING_RATE, write)
        return {"steps": self._steps - first, "seconds": time.monotonic() - began}

    def rewrite(self, told: Callable[[], bool]) -> dict[str, Any]:
        """Train, but write the served bytes again after each step: nothing that a client sees may change."""
        began, first = time.monotonic(), self._steps
        while not told():
            self._steps += 1
            self._trainer.backward(self._batches[self._steps % len(self._batches)])
            self._write(self._served)
        return {"steps": self._steps - first, "seconds": time.monotonic() - began}

    def publish(self, share: float) -> dict[str, Any]:
        """Round and write a share of the tensors, fp32 as the optimizer has them. Times end with the mark."""
        names = list(self._live.names)[:: round(1 / share)]
        exact = {name: self._served[name].float() for name in names}
        began = time.monotonic()
        with self._live.publishing("benchmark", self._steps):
            for name, value in exact.items():
                rounded = value if self._live.dtype(name) == torch.float32 else _round(name, value)
                self._live.write(name, rounded)
        seconds = time.monotonic() - began
        written = sum(self._served[name].nbytes for name in names)
        return {"ms": 1e3 * seconds, "bytes": written, "tensors": len(names)}

    def turn(self, which: str) -> dict[str, Any]:
        """Write what a step writes, or all; the final norm negated: the next token of a client is another."""
        norm = next(n for n in self._live.names if n.endswith("norm.weight") and ".layers." not in n)
        names = self._live.names if which == "all" else tuple(self._trainer.parameters)
        values = {**{name: self._served[name] for name in names}, norm: -self._served[norm]}
        began = time.monotonic()
        self._write(values)
        return {"began": began, "ended": time.monotonic()}

    def restore(self) -> dict[str, Any]:
        """Write back what was served at the start."""
        self._write(self._served)
        return {}

    def _write(self, values: dict[str, Tensor]) -> None:
        with self._live.publishing("benchmark", self._steps):
            for name, value in values.items():
                self._live.write(name, value)

    def _rows(self) -> Iterator[list[Row]]:
        pairs = [self._trainer.rows_for(correction(question)) for question in QUESTIONS]
        replay = self._trainer.rows_for(general())
        for number, first in enumerate(pairs):
            second = pairs[(number + 1) % len(pairs)]
            yield [first[0], second[0], first[1], replay[0]]


def _round(name: str, value: Tensor) -> Tensor:
    return stochastic_round(value, noise_key(0, name, 0))


def _told() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Do what each line says, until `quit` or the end of stdin."""
    writer = Writer(Path(sys.argv[1]), Path(sys.argv[2]))
    until_told = {"train": writer.train, "hurry": writer.hurry, "rewrite": writer.rewrite}
    at_once: dict[str, Callable[..., dict[str, Any]]] = {
        "turn": writer.turn,
        "restore": writer.restore,
        "publish": lambda share: writer.publish(float(share)),
        "idle": dict,
    }
    print(json.dumps({"ready": True}), flush=True)
    for line in iter(sys.stdin.readline, ""):
        what, *arguments = line.split()
        if what == "quit":
            break
        answer = until_told[what](_told) if what in until_told else at_once[what](*arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
