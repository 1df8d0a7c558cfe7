"""Training into a serving model against training with the server stopped, and what a reader sees of it."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from torch import Tensor

from learner.experiments.mechanism.recipes import REFERENCE, Recipe
from learner.experiments.mechanism.training import Material, train
from learner.experiments.setting import Setting
from learner.live.client import LiveWeights
from learner.temporary_server import SHARED, TemporaryServer, temporary_server
from learner.trainer import Gradients, Trainer, Write
from policies.config import ServerConfig, TrainingConfig

_ANSWER_TOKENS = 16
_TIMEOUT_S, _START_S = 300.0, 600.0
VERDICTS = ("same", "before", "after", "neither")

Key = tuple[str, int]
"""Kind of request (`pass` or `answer`) and number of the prompt."""
Value = tuple[float, ...] | tuple[int, ...]
"""Of a `pass`, the log-probabilities of the prompt's tokens; of an `answer`, its token ids."""
Seen = tuple[Key, Value]
Counts = dict[str, int]


class Reader:
    """One client of the server, one request at a time: what it gets depends on the weights alone."""

    def __init__(self, server: TemporaryServer, prompts: Sequence[Sequence[int]]) -> None:
        self._client = httpx.Client(base_url=server.url, timeout=_TIMEOUT_S, trust_env=False)
        self._prompts, self._name = prompts, server.name
        self._keys: tuple[Key, ...] = tuple((k, i) for i in range(len(prompts)) for k in ("pass", "answer"))

    def ask(self, key: Key) -> Value:
        """Send one request. Raises httpx.HTTPError when it fails."""
        kind, number = key
        body = {"model": self._name, "prompt": list(self._prompts[number]), "temperature": 0}
        limits = {"max_tokens": _ANSWER_TOKENS, "return_token_ids": True}
        body |= {"max_tokens": 1, "prompt_logprobs": 0} if kind == "pass" else limits
        reply = self._client.post("/v1/completions", json=body)
        choice = reply.raise_for_status().json()["choices"][0]
        if kind == "answer":
            return tuple(choice["token_ids"])
        return tuple(entry["logprob"] for token in choice["prompt_logprobs"][1:] for entry in token.values())

    def everything(self) -> dict[Key, Value]:
        """Ask everything once; at rest, one version answers all of it."""
        return {key: self.ask(key) for key in self._keys}

    @contextmanager
    def reading(self) -> Iterator[list[Seen]]:
        """Ask without a rest for the time of the block; all that was asked is there after it."""
        seen: list[Seen] = []
        failed: list[httpx.HTTPError] = []
        ended = threading.Event()

        def go() -> None:
            turn = 0
            while not ended.is_set():
                key = self._keys[turn % len(self._keys)]
                turn += 1
                try:
                    seen.append((key, self.ask(key)))
                except httpx.HTTPError as error:
                    failed.append(error)
                    return

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield seen
        finally:
            ended.set()
            thread.join()
        if failed:
            raise failed[0]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@dataclass
class Watch:
    """What a client got at rest, before the first and after each step (and once more at first), and between.

    `halfway` are the reads of each step while its write stood still, part of the tensors being new.
    """

    rest: list[dict[Key, Value]] = field(default_factory=list)
    again: dict[Key, Value] = field(default_factory=dict)
    halfway: dict[int, list[Seen]] = field(default_factory=dict)


def verdict(value: Value, before: Value, after: Value) -> str:
    """Say which version an answer is of, or `neither`; `same` where both versions give it."""
    if before == after == value:
        return "same"
    if value == before:
        return "before"
    return "after" if value == after else "neither"


def counts(seen: Sequence[Seen], before: dict[Key, Value], after: dict[Key, Value]) -> dict[str, Counts]:
    """Count the verdicts on what was read during a step, by kind."""
    found = {kind: dict.fromkeys(VERDICTS, 0) for kind in ("pass", "answer")}
    for key, value in seen:
        found[key[0]][verdict(value, before[key], after[key])] += 1
    return found


def apart(one: Value, other: Value) -> float:
    """Return the largest difference of two lists of log-probabilities."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def torn(seen: Sequence[Seen], before: dict[Key, Value], after: dict[Key, Value]) -> list[float]:
    """Return how far each pass is from the nearer version, as a share of what the step changed."""
    return [
        min(apart(value, before[key]), apart(value, after[key])) / apart(before[key], after[key])
        for key, value in seen
        if key[0] == "pass" and before[key] != after[key]
    ]


def measure(
    setting: Setting,
    material: Material,
    config: TrainingConfig,
    prompts: Sequence[Sequence[int]],
    steps: int,
) -> dict[str, Any]:
    """Train twice from the same seed: with no server, and into one that answers; compare, and count.

    Raises Unreachable where no server starts.
    """
    recipe = Recipe(REFERENCE)
    offline = train(setting.models, recipe, material, config, steps)
    alone = {name: p.detach().to(torch.bfloat16, copy=True) for name, p in offline.trainer.parameters.items()}
    del offline
    with _serving(setting.folder) as server:
        live, reader, watch = LiveWeights.attach(server.arena), Reader(server, prompts), Watch()
        try:
            losses = _train_live(setting, recipe, material, config, steps, live, reader, watch)
            equal = {name: _same(live.read(name), value) for name, value in alone.items()}
        finally:
            reader.close()
            live.close()
    return {
        "steps": len(losses),
        "tensors": len(equal),
        "equal_tensors": sum(equal.values()),
        "steps_halfway": sorted(watch.halfway),
        "counts": {
            step: counts(seen, watch.rest[step], watch.rest[step + 1]) for step, seen in watch.halfway.items()
        },
        "torn": [
            share
            for step, seen in watch.halfway.items()
            for share in torn(seen, watch.rest[step], watch.rest[step + 1])
        ],
        "at_rest": len(watch.again),
        "at_rest_differ": sum(watch.again[key] != watch.rest[0][key] for key in watch.again),
    }


def _train_live(
    setting: Setting,
    recipe: Recipe,
    material: Material,
    config: TrainingConfig,
    steps: int,
    live: LiveWeights,
    reader: Reader,
    watch: Watch,
) -> tuple[float, ...]:
    """Train and write every step into `live`: one while a client asks without a rest, the next in parts.

    What the first kind sees depends on the moment, and is told only; the second is the same each time.
    """
    watch.rest.append(reader.everything())
    watch.again = reader.everything()

    def take(trainer: Trainer, gradients: Gradients, rate: float) -> None:
        step, seen = len(watch.rest) - 1, []
        with live.publishing("experiment", step + 1):
            if step % 2:
                watch.halfway[step] = []
                write = _in_parts(live, reader, len(trainer.parameters), watch.halfway[step])
                trainer.apply(gradients, rate, write)
            else:
                with reader.reading() as seen:
                    trainer.apply(gradients, rate, live.write)
        watch.rest.append(reader.everything())
        if seen:
            found = counts(seen, watch.rest[step], watch.rest[step + 1])
            setting.tell(f"step {step + 1}, read while it was written: {found}")

    return train(setting.models, recipe, material, config, steps, take).losses


def _in_parts(live: LiveWeights, reader: Reader, tensors: int, seen: list[Seen]) -> Write:
    """Return a write that stands still after each quarter of the tensors, and has everything read."""
    stops = {round(tensors * part / 4) for part in (1, 2, 3)}
    written = 0

    def write(name: str, value: Tensor) -> None:
        nonlocal written
        live.write(name, value)
        written += 1
        if written in stops:
            seen.extend(reader.everything().items())

    return write


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(torch.bfloat16).view(torch.int16), other.view(torch.int16))


@contextmanager
def _serving(model_dir: Path) -> Iterator[TemporaryServer]:
    """Serve a checkpoint without a prefix cache, so that every answer is computed."""
    arena = SHARED / f"heedloop-experiment-{secrets.token_hex(4)}"
    config = ServerConfig(model="experiment", prefix_cache="none", start_timeout_s=_START_S)
    with (
        tempfile.TemporaryDirectory() as folder,
        temporary_server(config, model_dir, arena, Path(folder)) as server,
    ):
        yield server
