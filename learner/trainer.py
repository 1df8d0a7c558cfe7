"""The trainer: from rows (`learner.row_book`) to a step on the weights.

The model's parameters, fp32 or bf16, always hold the live bf16 values. What rounding leaves of a step is
kept in a remainder per tensor, or, where memory forbids one, the rounding is stochastic.

A batch whose loss or gradient is not finite touches nothing. Where all gradients fit into memory they are
looked at before the first is applied. Else two backward passes go over one graph: the first takes each
gradient's norm and drops it; the second, only if all were finite, applies each as it comes, so that never
more than one is alive. The contexts are not computed again for it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.apollo import Apollo
from learner.channels import Step, add_with_remainder
from learner.model import embeddings, trainable
from learner.objectives import batch_losses, objective_of
from learner.rounding import noise_key, stochastic_round
from learner.row_book import RowBook, TwinAnswers
from learner.tokens import Row
from policies.config import TrainingConfig
from policies.errors import ConfigError
from policies.example import Example

Write = Callable[[str, Tensor], None]
"""Takes the name and the new bf16 values of a tensor in which at least one changed."""
Read = Callable[[str], Tensor]
"""Gives the live values of a tensor."""


@dataclass(frozen=True)
class Gradients:
    """What a backward pass found; nothing is touched yet. Not `finite` means that it must not be applied.

    `tensors` are whole gradients; where they are taken in backward it is empty, and `graph` is the loss.
    """

    loss: float
    row_losses: tuple[float, ...]
    norm: float
    finite: bool
    seconds: float
    tensors: dict[str, Tensor]
    graph: Tensor | None = None


@dataclass(frozen=True)
class Applied:
    """What a step changed: seconds and live bytes."""

    seconds: float
    changed_bytes: int


@dataclass(frozen=True)
class TrainerState:
    """All that a trainer needs to go on bit for bit, beside the weights: flat, for any file format."""

    tensors: dict[str, Tensor]
    numbers: dict[str, int]


class Trainer:
    """Trains `model` in memory; `base` is the frozen reference of the same architecture.

    `keep_remainder` False rounds stochastically instead: 4 bytes a weight less. `kept_references` bounds
    the rows whose references stay in memory. Trainers of one base and one `max_replay_tokens` may
    share `twin_answers`, so that it answers a prompt once; a trainer then learns the same whoever answered.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        base: PreTrainedModel,
        config: TrainingConfig,
        seed: int,
        keep_remainder: bool = True,
        kept_references: int = 256,
        twin_answers: TwinAnswers | None = None,
    ) -> None:
        self.model, self.tokenizer, self.base, self.config = model, tokenizer, base, config
        self.objective = objective_of(config)
        self.parameters = trainable(model, config.parameters)
        self.optimizer = Apollo(
            self.parameters,
            config.learning_rate,
            config.rank,
            seed=seed,
            scale=config.scale,
            plain=embeddings(model),
        )
        on_cpu = model.device.type == "cpu"
        self._in_backward = config.gradients == "in_backward" or (config.gradients == "auto" and not on_cpu)
        self._remainders = {
            name: torch.zeros_like(p, dtype=torch.float32)
            for name, p in self.parameters.items()
            if keep_remainder
        }
        self._seed, self._steps = seed, 0
        self.row_book = RowBook(model, tokenizer, base, config, self.objective, kept_references, twin_answers)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        if on_cpu:
            _compile(model.dtype)

    def rows_for(self, example: Example) -> tuple[Row, ...]:
        """Return the rows of an example: correction and, where there is one, its twin; or one general row.

        Raises InputError where the example cannot be trained on; the message names it.
        """
        return self.row_book.rows_for(example)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Build the rows of many examples at once. Raises InputError after all others are done."""
        self.row_book.prepare(examples)

    def warm(self, rows: Sequence[Row], most: int | None = None) -> None:
        """Compute the references that are not in memory yet, of `most` rows at once."""
        self.row_book.warm(rows, most)

    def forget(self, example_id: str) -> None:
        """Drop the rows of an example that will not be trained on again."""
        self.row_book.forget(example_id)

    def keep_only(self, example_ids: Collection[str]) -> None:
        """Drop the rows of all other examples."""
        self.row_book.keep_only(example_ids)

    def losses(self, rows: Sequence[Row]) -> Tensor:
        """Return the loss of each row under the objective, [rows], with its graph."""
        self.warm(rows)
        return batch_losses(self.model, self.objective, rows, self.row_book.reference)

    def backward(self, rows: Sequence[Row]) -> Gradients:
        """Compute the gradients of the mean loss of `rows`, and whether loss and all of them are finite."""
        started = time.monotonic()
        losses = self.losses(rows)
        loss = losses.mean()
        norms: list[Tensor] = []
        gradients: dict[str, Tensor] = {}

        def take(name: str, gradient: Tensor) -> None:
            norms.append(torch.linalg.vector_norm(gradient, dtype=torch.float32))
            if not self._in_backward:
                gradients[name] = gradient

        self._each_gradient(loss, take, again=self._in_backward)
        norm = torch.stack(norms).double().norm().item()
        finite = bool(torch.isfinite(loss)) and norm < float("inf")
        graph = loss if self._in_backward and finite else None
        seconds = time.monotonic() - started
        return Gradients(loss.item(), tuple(losses.tolist()), norm, finite, seconds, gradients, graph)

    def apply(self, gradients: Gradients, learning_rate: float, write: Write) -> Applied:
        """Take one step; `write` gets every changed tensor. If it raises, the weights must be reloaded.

        Raises ValueError for gradients that are not finite: weights and moments stay as they are.
        """
        if not gradients.finite:
            raise ValueError(
                f"gradients of norm {gradients.norm} and loss {gradients.loss} cannot be applied"
            )
        started = time.monotonic()
        changed = 0

        def take(name: str, gradient: Tensor) -> None:
            nonlocal changed
            if self._apply(name, self.optimizer.step(name, gradient, learning_rate)):
                live = self.parameters[name].detach().to(torch.bfloat16)
                write(name, live)
                changed += live.nbytes

        if gradients.graph is not None:
            self._each_gradient(gradients.graph, take)
        for name, gradient in gradients.tensors.items():
            take(name, gradient)
        self._steps += 1
        return Applied(time.monotonic() - started, changed)

    def step(self, rows: Sequence[Row], learning_rate: float, write: Write) -> Gradients:
        """Compute and, where finite, apply."""
        gradients = self.backward(rows)
        if gradients.finite:
            self.apply(gradients, learning_rate, write)
        return gradients

    def _each_gradient(self, loss: Tensor, take: Callable[[str, Tensor], None], again: bool = False) -> None:
        """Go backward and give every gradient to `take` as soon as it is complete; no parameter keeps one.

        `again` keeps the graph for a second time. `take` may change the parameter: its share in the gradients
        of others has been computed by then.
        """

        def hook(name: str, parameter: Tensor) -> None:
            gradient, parameter.grad = parameter.grad, None
            assert gradient is not None, "the hook runs when a gradient has been accumulated"
            take(name, gradient)

        hooks = [
            parameter.register_post_accumulate_grad_hook(partial(hook, name))
            for name, parameter in self.parameters.items()
        ]
        try:
            loss.backward(retain_graph=again)
        finally:
            for handle in hooks:
                handle.remove()

    @torch.no_grad()
    def _apply(self, name: str, step: Step) -> int:
        """Add a step to a parameter. Returns how many of its bf16 values changed."""
        parameter = self.parameters[name].data
        if name in self._remainders:
            return add_with_remainder(parameter, self._remainders[name], step)
        key = noise_key(self._seed, name, self._steps)
        live = stochastic_round(step.dense().add_(parameter), key).to(parameter.dtype)
        changed = int(torch.count_nonzero(live != parameter))
        parameter.copy_(live)
        return changed

    def state(self, *, copy: bool = True) -> TrainerState:
        """Return a copy of moments, remainders and counters; without `copy`, the remainders themselves.

        With the same weights and gradients, a trainer that has restored it goes on bit for bit.
        """
        kept = self._remainders.items()
        tensors = {f"remainder/{name}": value.clone() if copy else value for name, value in kept}
        numbers = {"format": 1, "seed": self._seed, "steps": self._steps}
        for name, moments in self.optimizer.state_dict().items():
            numbers[f"step/{name}"] = moments.pop("step")
            tensors |= {f"{part}/{name}": value for part, value in moments.items()}
        return TrainerState(tensors, numbers)

    @torch.no_grad()
    def restore(self, state: TrainerState) -> None:
        """Go on from `state`; call it after `reload`, with the weights as they were then.

        Raises ConfigError, and touches nothing, where it is of another model, rank, seed or way of rounding.
        """
        kept = {name for name in state.tensors if name.startswith("remainder/")}
        if kept != {f"remainder/{name}" for name in self._remainders} or state.numbers["seed"] != self._seed:
            raise ConfigError("training state does not fit: other parameters, another seed or rounding")
        moments: dict[str, dict[str, Any]] = defaultdict(dict)
        for key, value in (*state.tensors.items(), *state.numbers.items()):
            part, _, name = key.partition("/")
            if name and part != "remainder":
                moments[name][part] = value
        self.optimizer.load_state_dict(moments)
        for name, remainder in self._remainders.items():
            remainder.copy_(state.tensors[f"remainder/{name}"])
        self._steps = state.numbers["steps"]

    @torch.no_grad()
    def reload(self, read: Read) -> None:
        """Take the live weights as they are: parameters from `read`, remainders zero, moments fresh."""
        for name, parameter in self.parameters.items():
            parameter.copy_(read(name))
        for remainder in self._remainders.values():
            remainder.zero_()
        self.row_book.forget_own()
        self.optimizer.reset()


def _compile(dtype: torch.dtype) -> None:
    """Take a step on small tensors: what is compiled at its first use is ready before the first real step."""
    shapes = {"rows": (64, 32), "columns": (32, 64), "vector": (32,)}
    weights = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    optimizer = Apollo(weights, lr=1.0, rank=2)
    for name, weight in weights.items():
        step = optimizer.step(name, torch.ones_like(weight))
        add_with_remainder(weight, torch.zeros(weight.shape), step)
