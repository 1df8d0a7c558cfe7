"""What every layer carries at one place of a prompt: its state, what it adds, and the residual stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from learner.experiments.hybrid.measures import random_projection
from learner.frozen import new_cache
from learner.live.steering import decoder_layers
from learner.tokens import prompt_of
from policies.turn import Message

Kind = Literal["recurrent", "keys and values", "reading", "residual"]
Place = tuple[Kind, int]
"""What is looked at, and in which layer."""
_LONGEST = 1024


@torch.no_grad()
def states_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, contexts: Sequence[Sequence[Message]]
) -> dict[Place, Tensor]:
    """Return the states just before the answer to each conversation: fp32 [conversations, width].

    `recurrent` is the state of a Gated DeltaNet layer, `keys and values` those of an attention layer at the
    last token, `reading` what either adds to the residual stream there, `residual` the stream behind the
    layer. What is wide is projected.
    """
    found: dict[Place, list[Tensor]] = defaultdict(list)
    for messages in contexts:
        for place, state in _at_end(model, prompt_of(tokenizer, messages, _LONGEST).ids).items():
            found[place].append(state)
    return {place: random_projection(torch.stack(states)) for place, states in found.items()}


def recurrent_layers(model: PreTrainedModel) -> list[int]:
    """Return the numbers of the Gated DeltaNet layers; none in a model of attention only."""
    return [n for n, layer in decoder_layers(model).items() if hasattr(layer, "linear_attn")]


def _at_end(model: PreTrainedModel, ids: Sequence[int]) -> dict[Place, Tensor]:
    cache = new_cache(model)
    with _listening(model) as heard:
        model.model(
            input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, use_cache=True
        )
    return heard | {(kind, n): state for n in range(len(cache.layers)) for kind, state in _kept(cache, n)}


def _kept(cache: DynamicCache, number: int) -> Iterator[tuple[Kind, Tensor]]:
    layer = cache.layers[number]
    recurrent = getattr(layer, "recurrent_states", None)
    if recurrent is not None:
        yield "recurrent", recurrent[0].float().flatten().cpu()
    else:
        ends = (layer.keys[0, :, -1], layer.values[0, :, -1])
        yield "keys and values", torch.cat([end.float().flatten() for end in ends]).cpu()


@contextmanager
def _listening(model: PreTrainedModel) -> Iterator[dict[Place, Tensor]]:
    """Keep what each layer's mixer and each layer put out at the last token, in the block."""
    heard: dict[Place, Tensor] = {}

    def keeping(kind: Kind, number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            heard[kind, number] = states[0, -1].float().cpu()

        return hook

    handles = []
    for number, layer in decoder_layers(model).items():
        mixer = layer.linear_attn if hasattr(layer, "linear_attn") else layer.self_attn
        handles.append(mixer.register_forward_hook(keeping("reading", number)))
        handles.append(layer.register_forward_hook(keeping("residual", number)))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
