"""The trainer: from examples to rows, from rows to a step on the weights.

The model's parameters, fp32 or bf16, always hold the live bf16 values. What rounding leaves of a step is
kept in a remainder per tensor, or, where memory forbids one, the rounding is stochastic.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.apollo import Apollo
from learner.generation import greedy
from learner.model import trainable
from learner.objective import batch_losses, log_probs
from learner.rounding import apply_with_remainder, noise_key, stochastic_round
from learner.tokens import Prompt, Row, answer_ids, build_row, end_token, prompt_of
from policies.config import TrainingConfig
from policies.errors import InputError
from policies.example import Example

Write = Callable[[str, Tensor], None]
"""Takes the name and the new bf16 values of a tensor in which at least one changed."""
Read = Callable[[str], Tensor]
"""Gives the live values of a tensor."""

_BATCH = 16
"""Rows or prompts in one pass of the base model."""


@dataclass(frozen=True)
class Gradients:
    """What a backward pass found; nothing is touched yet. Not `finite` means that it must not be applied."""

    loss: float
    row_losses: tuple[float, ...]
    norm: float
    finite: bool
    seconds: float
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Applied:
    """What a step changed: seconds and live bytes."""

    seconds: float
    changed_bytes: int


class Trainer:
    """Trains `model` in memory; `base` is the frozen reference of the same architecture.

    `keep_remainder` False rounds stochastically instead: 4 bytes a weight less. `kept_references` bounds
    the rows whose base log-probabilities stay in memory.
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
    ) -> None:
        self.model, self.tokenizer, self.base, self.config = model, tokenizer, base, config
        self.parameters = trainable(model)
        self.optimizer = Apollo(self.parameters, config.learning_rate, config.rank, seed=seed)
        self._remainders = {
            name: torch.zeros_like(p, dtype=torch.float32)
            for name, p in self.parameters.items()
            if keep_remainder
        }
        self._seed, self._steps = seed, 0
        self._end = end_token(tokenizer)
        self._rows: dict[str, tuple[Row, ...]] = {}
        self._references: OrderedDict[Row, Tensor] = OrderedDict()
        self._kept_references = kept_references
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def rows_for(self, example: Example) -> tuple[Row, ...]:
        """Return the rows of an example: correction and, where there is one, its twin; or one general row.

        Raises InputError where the example cannot be trained on; the message names it.
        """
        if example.id not in self._rows:
            self.prepare([example])
        return self._rows[example.id]

    def prepare(self, examples: Sequence[Example]) -> None:
        """Build the rows of many examples: the base model answers all their twin contexts in one go.

        Worth calling ahead of time, as `warm` is. Raises InputError as `rows_for`, after all others are done.
        """
        failed: list[InputError] = []
        twins: list[tuple[Example, Prompt]] = []
        for example in examples:
            if example.id in self._rows:
                continue
            try:
                self._rows[example.id] = (self._own_row(example),)
                if example.kind == "correction" and example.twin_context is not None:
                    twins.append((example, self._prompt(example, example.twin_context)))
            except InputError as error:
                self._rows.pop(example.id, None)
                failed.append(error)
        self._add_twins(twins)
        if failed:
            raise failed[0]

    def _own_row(self, example: Example) -> Row:
        if not example.chosen:
            raise InputError(f"example {example.id} has no chosen answer to learn")
        other = None
        if example.kind == "correction" and example.rejected is not None:
            other = answer_ids(self.tokenizer, example.rejected)
        return build_row(
            example.id,
            example.kind,
            self._prompt(example, example.context),
            answer_ids(self.tokenizer, example.chosen),
            other,
            self.config.max_decision_tokens
            if example.kind == "correction"
            else self.config.max_replay_tokens,
            example.weight,
        )

    def _prompt(self, example: Example, messages: Sequence[dict[str, object]]) -> Prompt:
        try:
            return prompt_of(self.tokenizer, messages, self.config.max_context_tokens, keep=example.direction)
        except InputError as error:
            raise InputError(f"example {example.id}: {error}") from error

    def _add_twins(self, twins: Sequence[tuple[Example, Prompt]]) -> None:
        """Let the base model answer; its log-probabilities on the way are the twins' references."""
        longest = self.config.max_replay_tokens
        prompts = [prompt.ids for _, prompt in twins]
        answers = greedy(self.base, prompts, longest, {self._end}, _BATCH, with_log_probs=True)
        for (example, prompt), answer in zip(twins, answers, strict=True):
            chosen = answer_ids(self.tokenizer, example.chosen or "")
            row = build_row(example.id, "twin", prompt, answer.ids, chosen, longest, example.weight)
            self._rows[example.id] += (row,)
            if answer.log_probs is not None:
                self._remember(row, answer.log_probs)

    def warm(self, rows: Sequence[Row], most: int | None = None) -> None:
        """Compute the base log-probabilities that are not in memory yet, of `most` rows at once."""
        missing: list[Row] = []
        for row in dict.fromkeys(rows):
            if row in self._references:
                self._references.move_to_end(row)
            elif row.kind != "correction":
                missing.append(row)
        missing = sorted(missing[:most], key=lambda row: len(row.context))
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            for row, reference in zip(batch, log_probs(self.base, batch), strict=True):
                self._remember(row, reference, room=len(rows))

    def _remember(self, row: Row, reference: Tensor, room: int = 0) -> None:
        """Keep a reference; the longest unused ones go, but `room` of them always stay."""
        self._references[row] = reference
        while len(self._references) > max(self._kept_references, room):
            self._references.popitem(last=False)

    def forget(self, example_id: str) -> None:
        """Drop the rows of an example that will not be trained on again."""
        for row in self._rows.pop(example_id, ()):
            self._references.pop(row, None)

    def backward(self, rows: Sequence[Row]) -> Gradients:
        """Compute the gradients of the mean loss of `rows`, and whether loss and all of them are finite."""
        started = time.monotonic()
        self.warm(rows)
        losses = batch_losses(self.model, rows, [self._references.get(row) for row in rows], self.config)
        loss = losses.mean()
        loss.backward()
        gradients = self._take_gradients()
        norms = torch.stack([torch.linalg.vector_norm(g.view(-1)) for g in gradients.values()])
        norm = norms.double().norm().item()
        finite = bool(torch.isfinite(loss)) and norm < float("inf")
        seconds = time.monotonic() - started
        return Gradients(loss.item(), tuple(losses.tolist()), norm, finite, seconds, gradients)

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
        for name, gradient in gradients.tensors.items():
            if self._apply(name, self.optimizer.update(name, gradient, learning_rate)):
                live = self.parameters[name].detach().to(torch.bfloat16)
                write(name, live)
                changed += live.nbytes
        self._steps += 1
        return Applied(time.monotonic() - started, changed)

    def step(self, rows: Sequence[Row], learning_rate: float, write: Write) -> Gradients:
        """Compute and, where finite, apply."""
        gradients = self.backward(rows)
        if gradients.finite:
            self.apply(gradients, learning_rate, write)
        return gradients

    def _take_gradients(self) -> dict[str, Tensor]:
        """Move the gradients out of the parameters."""
        gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        for parameter in self.parameters.values():
            parameter.grad = None
        return gradients

    @torch.no_grad()
    def _apply(self, name: str, update: Tensor) -> int:
        """Add an update to a parameter. Returns how many of its bf16 values changed."""
        parameter = self.parameters[name]
        if name in self._remainders:
            return apply_with_remainder(parameter.data, self._remainders[name], update)
        key = noise_key(self._seed, name, self._steps)
        live = stochastic_round(update.add_(parameter.data), key).to(parameter.dtype)
        changed = int(torch.count_nonzero(live != parameter))
        parameter.copy_(live)
        return changed

    @torch.no_grad()
    def reload(self, read: Read) -> None:
        """Take the live weights as they are: parameters from `read`, remainders zero, moments fresh."""
        for name, parameter in self.parameters.items():
            parameter.copy_(read(name))
        for remainder in self._remainders.values():
            remainder.zero_()
        self.optimizer.reset()
