"""Recurrent layers in a packed pass: each run goes on from the state at which it branches off.

Attention tells the runs of a packed sequence apart by its mask. A recurrence cannot: Gated DeltaNet would
carry the state of one run into the next. So its layers are called run by run, and their states kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

from learner.attention import Line
from learner.forest import Run, line

State = tuple[Tensor, Tensor]
"""Last inputs of the convolution and the recurrent state, one row a sequence."""


class AssigningLayer(LinearAttentionLayer):
    """A recurrent state that is replaced, not overwritten.

    The stock layer copies the new state into the old tensor, which autograd has saved for backward.
    """

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **_: object) -> Tensor:
        """Keep `recurrent_states` itself."""
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = True
        return recurrent_states

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows alone: an answer that has ended leaves the batch."""
        self.reorder_cache(indices)

    def load(self, state: State) -> None:
        """Go on from `state`, which stays as it is."""
        convolved, recurrent = state
        self.lazy_initialization(conv_states=convolved)
        self.conv_states[0] = convolved.clone()
        self.has_previous_state[0] = True
        self.update_recurrent_state(recurrent)

    def state(self) -> State:
        """Return where the layer is."""
        return self.conv_states[0], self.recurrent_states[0]


class ForestCache(DynamicCache):
    """The keys and values of all runs so far, packed, and the recurrent states where others branch off.

    `by_run` says that `learner.attention` computes the attention: each run asks for its line (`reading`).
    """

    def __init__(self, model: PreTrainedModel, runs: Sequence[Run], by_run: bool) -> None:
        super().__init__(config=model.config)
        self.layers = [DynamicLayer() if isinstance(layer, DynamicLayer) else layer for layer in self.layers]
        self.runs = runs
        self.seen: tuple[int, ...] = ()
        self.now: tuple[int, ...] = ()
        self.as_rows = False
        self.by_run = by_run
        self._states: dict[tuple[int, int, int], State] = {}
        self._cuts: list[set[int]] = [{run.end} for run in runs]
        for run in runs:
            if run.parent is not None:
                self._cuts[run.parent].add(run.start)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep what contexts compute; runs that read run by run get their own keys and values back."""
        if self.as_rows and self.by_run:
            return key_states, value_states
        kept = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        return (key_states, value_states) if self.by_run else kept

    def reading(self, layer: int) -> tuple[tuple[Tensor, Tensor] | None, list[Line]]:
        """Return keys and values of the contexts in a layer, and what each run of `now` reads of them."""
        packed = (*self.seen, *self.now)
        starts = dict(
            zip(packed, accumulate((len(self.runs[i].ids) for i in packed), initial=0), strict=False)
        )
        lines = []
        for index in self.now:
            above = [(run, stop) for run, stop in line(self.runs, index) if run != index]
            spans = tuple((starts[r], starts[r] + stop - self.runs[r].start) for r, stop in reversed(above))
            lines.append((len(self.runs[index].ids), spans))
        kept = self.layers[layer]
        return ((kept.keys, kept.values) if kept.is_initialized else None), lines

    def branched(self, module: nn.Module, forward: Callable[..., Tensor], hidden: Tensor) -> Tensor:
        """Call the recurrent layer `module` on the packed runs `now`, [1, tokens, width]."""
        parts = hidden[0].split([len(self.runs[i].ids) for i in self.now])
        step = partial(self._step, int(module.layer_idx), forward)
        outputs = self._rows(step, parts) if self.as_rows else self._runs(step, parts)
        return torch.cat(outputs)[None]

    def _step(
        self, layer: int, forward: Callable[..., Tensor], hidden: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        kept = AssigningLayer()
        if state is not None:
            kept.load(state)
        self.layers[layer] = kept
        return forward(hidden, cache_params=self), kept.state()

    def _runs(self, step: partial[tuple[Tensor, State]], parts: Sequence[Tensor]) -> list[Tensor]:
        """One call for each stretch between two places where others branch off."""
        outputs, layer = [], step.args[0]
        for index, part in zip(self.now, parts, strict=True):
            run, at = self.runs[index], self.runs[index].start
            state = None if run.parent is None else self._states[layer, run.parent, at]
            for cut in sorted(self._cuts[index]):
                output, state = step(part[None, at - run.start : cut - run.start], state)
                outputs.append(output[0])
                self._states[layer, index, cut] = state
                at = cut
        return outputs

    def _rows(self, step: partial[tuple[Tensor, State]], parts: Sequence[Tensor]) -> list[Tensor]:
        """One call for all runs as rows, padded at their ends: nothing branches off them."""
        rows = pad_sequence(list(parts), batch_first=True)
        if rows.shape[1] == 1:  # a single token would take the decoding path, which has no backward
            rows = F.pad(rows, (0, 0, 0, 1))
        output, _ = step(rows, self._stacked(step.args[0]))
        return [row[: len(part)] for row, part in zip(output, parts, strict=True)]

    def _stacked(self, layer: int) -> State | None:
        """Return the states that the runs `now` begin with; zeros are the state before any token."""
        states = [
            None if run.parent is None else self._states[layer, run.parent, run.start]
            for run in (self.runs[i] for i in self.now)
        ]
        known = next((state for state in states if state is not None), None)
        if known is None:
            return None
        blank = (torch.zeros_like(known[0]), torch.zeros_like(known[1]))
        convolved, recurrent = zip(*(state or blank for state in states), strict=True)
        return torch.cat(convolved), torch.cat(recurrent)


@contextmanager
def branching(model: PreTrainedModel) -> Iterator[None]:
    """Let the recurrent layers of `model` take the runs of a `ForestCache` apart, in the block."""
    recurrent = [m for m in model.modules() if hasattr(m, "conv1d") and hasattr(m, "layer_idx")]
    for module in recurrent:
        module.forward = partial(_forward, module, module.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in recurrent:
            del module.forward


def _forward(
    module: nn.Module,
    forward: Callable[..., Tensor],
    hidden_states: Tensor,
    cache_params: ForestCache,
    **_: object,
) -> Tensor:
    return cache_params.branched(module, forward, hidden_states)
