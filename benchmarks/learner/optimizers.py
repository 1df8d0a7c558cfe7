"""What an optimizer step costs: Apollo beside torch's AdamW on the same tensors, and in a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.learner.cells import MIB, extra_mib, side_by_side
from benchmarks.learner.passes import ready, row_of
from benchmarks.step import QUESTIONS, correction, general
from learner.apollo import Apollo
from learner.base_model import resolve_model
from learner.channels import add_with_remainder
from learner.model import load_model, trainable
from learner.tokens import Row
from learner.trainer import Trainer
from policies.config import TrainingConfig

RANKS = {"r64": 64, "r256": 256, "mini": 1}
GRADIENTS = ("whole", "in_backward")
RATE = 1e-5
REPEATS = 7
STEPS = 6


def tensors(name: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of a model that learn, and gradients of their shapes."""
    model, _ = ready(name)
    weights = {name: p.detach().to(dtype).clone() for name, p in trainable(model).items()}
    drawn = torch.Generator().manual_seed(0)
    return weights, {
        n: torch.randn(w.shape, generator=drawn).mul_(1e-3).to(dtype) for n, w in weights.items()
    }


def adamw(weights: dict[str, Tensor], gradients: dict[str, Tensor], **kind: bool) -> Callable[[], object]:
    """Return the step of torch's AdamW."""
    parameters = [torch.nn.Parameter(weight.clone()) for weight in weights.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient
    return torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, **kind).step


def apollo(weights: dict[str, Tensor], gradients: dict[str, Tensor], rank: int) -> Callable[[], object]:
    """Return the step of Apollo, added to weights that round it as the optimizer beside it does."""
    optimizer = Apollo(weights, RATE, rank, in_type=torch.bfloat16)

    def step() -> None:
        for name, weight in weights.items():
            found = optimizer.step(name, gradients[name])
            if found.factor is None:
                weight.add_(found.gradient)
            else:
                weight.addcmul_(found.gradient, found.factor.to(weight.dtype))

    return step


def exact_apollo(weights: dict[str, Tensor], gradients: dict[str, Tensor], rank: int) -> Callable[[], object]:
    """Return the step of Apollo as the trainer takes it: what rounding leaves is kept."""
    optimizer = Apollo(weights, RATE, rank)
    remainders = {name: torch.zeros(weight.shape) for name, weight in weights.items()}

    def step() -> None:
        for name, weight in weights.items():
            add_with_remainder(weight, remainders[name], optimizer.step(name, gradients[name]))

    return step


def speed(model: str, dtype: torch.dtype) -> dict[str, Any]:
    """Return the seconds of all optimizers on tensors of one type."""
    weights, gradients = tensors(model, dtype)
    ways = {kind: adamw(weights, gradients, **{kind: True}) for kind in ("fused", "foreach")}
    copies = [{name: w.clone() for name, w in weights.items()} for _ in RANKS]
    for (name, rank), copy in zip(RANKS.items(), copies, strict=True):
        ways[name] = apollo(copy, gradients, rank)
        if dtype == torch.bfloat16:
            ways[f"{name}_exact"] = exact_apollo(copy, gradients, rank)
    return {"seconds": side_by_side(ways, REPEATS), "n": REPEATS}


def memory(model: str, name: str) -> dict[str, Any]:
    """Return what an optimizer's state and steps add to memory (fp32 tensors), and the accounted bytes."""
    weights, gradients = tensors(model, torch.float32)
    count = sum(weight.numel() for weight in weights.values())
    if name in RANKS:
        moments = Apollo(weights, RATE, RANKS[name]).state_dict()
        accounted = sum(
            part.nbytes for state in moments.values() for part in state.values() if torch.is_tensor(part)
        )
        del moments

        def build() -> Callable[[], object]:
            return apollo(weights, gradients, RANKS[name])
    else:
        accounted = 8 * count

        def build() -> Callable[[], object]:
            return adamw(weights, gradients, **{name: True})

    def run() -> None:
        step = build()
        step()
        step()

    weight_copy = 0.0 if name in RANKS else 4 * count / MIB
    return {"peak_mib": extra_mib(run) - weight_copy, "state_bytes": accounted, "n": 1}


def training(name: str, rank: int, gradients: str = "whole") -> tuple[Trainer, list[Row]]:
    """Return a trainer, and a batch of three corrections and one general row."""
    model, tokenizer = ready(name)
    base, _ = load_model(resolve_model(name, lambda what, part: None))
    config = TrainingConfig.model_validate({"rank": rank, "gradients": gradients})
    trainer = Trainer(model, tokenizer, base, config, 0)
    answer = " ".join(["Most people know it from every day, and few have thought about it."] * 5)
    examples = [
        correction(question).model_copy(update={"twin_context": None, "chosen": answer})
        for question in QUESTIONS[:3]
    ]
    return trainer, [trainer.rows_for(example)[0] for example in (*examples, general())]


def share(model: str, name: str) -> dict[str, Any]:
    """Return what part of a training step taking and applying an optimizer's step is, rounding included."""
    trainer, rows = training(model, RANKS[name])
    taken: dict[str, list[float]] = {"backward": [], "apply": []}
    for _ in range(STEPS + 1):
        began = time.process_time()
        gradients = trainer.backward(rows)
        between = time.process_time()
        trainer.apply(gradients, RATE, lambda name, value: None)
        taken["backward"].append(between - began)
        taken["apply"].append(time.process_time() - between)
    seconds = {part: median(values[1:]) for part, values in taken.items()}
    tokens = [len(row.context) + len(row.lead) + len(row.answer) for row in rows]
    return {
        "seconds": seconds,
        "step_share": seconds["apply"] / sum(seconds.values()),
        "row_tokens": tokens,
        "n": STEPS,
    }


def way_speed(model: str, context: int) -> dict[str, Any]:
    """Return the seconds of a step with whole gradients and with each applied in backward."""
    trainers = {way: training(model, RANKS["r64"], way) for way in GRADIENTS}

    def step(way: str) -> None:
        trainer, rows = trainers[way]
        longer = [row_of(trainer.model, context)] if context else []
        trainer.step([*rows, *longer], RATE, lambda name, value: None)

    return {"seconds": side_by_side({way: partial(step, way) for way in GRADIENTS}, 3), "n": 3}


def way_memory(model: str, way: str) -> dict[str, Any]:
    """Return by how much a step raises the peak, when it is not the first."""
    trainer, rows = training(model, RANKS["r64"], way)
    trainer.step(rows[:1], RATE, lambda name, value: None)
    step = partial(trainer.step, rows[:1], RATE, lambda name, value: None)
    gradients = sum(p.nbytes for p in trainer.parameters.values()) / MIB
    return {"peak_mib": extra_mib(step), "whole_gradients_mib": gradients, "n": 1}
