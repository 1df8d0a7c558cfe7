"""Hidden states of the Hugging Face model: the residual stream after each layer, and recurrent states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from learner.frozen import new_cache
from learner.live.steering import decoder_layers
from policies.errors import InputError

LONGEST = 4096


@torch.no_grad()
def residuals(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Return the residual stream after each decoder layer at each token: fp32 [layers, tokens, width].

    The last layer's is that before the final norm. Raises InputError for no tokens, or too many.
    """
    if not 0 < len(ids) <= LONGEST:
        raise InputError(f"{len(ids)} tokens: hidden states are read of 1 to {LONGEST}")
    with watched(model) as stream:
        model.model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
        return stream()


@contextmanager
def watched(model: PreTrainedModel) -> Iterator[Callable[[], Tensor]]:
    """Yield what gives the residual stream after each layer in the model's last call of the block.

    That of the first sequence of its batch, fp32 [layers, tokens, width].
    """
    seen: dict[int, Tensor] = {}

    def keeping(number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            seen[number] = state[0]

        return hook

    layers = decoder_layers(model)
    handles = [layer.register_forward_hook(keeping(number)) for number, layer in layers.items()]
    try:
        yield lambda: torch.stack([seen[number].float().cpu() for number in sorted(seen)])
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def recurrent_states(model: PreTrainedModel, ids: Sequence[int]) -> dict[int, dict[str, Tensor]]:
    """Return, of each Gated DeltaNet layer, what it carries on after a prompt: `recurrent` and `conv`.

    Empty for a model that has attention only.
    """
    cache = new_cache(model)
    model.model(
        input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, use_cache=True
    )
    found: dict[int, dict[str, Tensor]] = {}
    for number, layer in enumerate(cache.layers):
        states = {name: _first(getattr(layer, f"{name}_states", None)) for name in ("recurrent", "conv")}
        kept = {name: state.float().cpu() for name, state in states.items() if state is not None}
        if kept:
            found[number] = kept
    return found


@contextmanager
def steered(model: PreTrainedModel, rows: Tensor | None) -> Iterator[None]:
    """Add `rows` [layers, width] to the residual stream for the time of the block, as the server does.

    [batch, layers, width] adds to each sequence of a batch its own.
    """
    if rows is None:
        yield
        return
    layers = decoder_layers(model)
    if tuple(rows.shape[-2:]) != (max(layers) + 1, model.config.get_text_config().hidden_size):
        raise InputError(f"steering: {tuple(rows.shape)} is not (layers, width) of this model")

    def adding(row: Tensor) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            return (output[0] + row, *output[1:]) if isinstance(output, tuple) else output + row

        return hook

    own = rows.to(model.device, model.dtype).unsqueeze(-2)  # the same at every token
    handles = [
        layer.register_forward_hook(adding(own[..., number, :, :]))
        for number, layer in layers.items()
        if rows[..., number, :].any()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first(state: Any) -> Tensor | None:
    """The state of the first sequence; newer transformers keep a dictionary of them."""
    if isinstance(state, dict):
        state = next(iter(state.values()), None)
    return state[0] if isinstance(state, Tensor) else None
