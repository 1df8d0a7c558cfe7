"""The learner's model on the live memory itself: no second copy of the weights.

Possible where the server keeps every parameter as it is, in one piece: on a GPU, of one rank. An optimizer
that writes in place writes into the running server, so it works inside `LiveWeights.publishing`.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import init_empty_weights
from torch import Tensor
from torch.nn import Parameter
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from learner.live.client import LiveWeights
from policies.errors import UnsupportedModel


def model_on(live: LiveWeights, folder: Path) -> PreTrainedModel:
    """The model of a checkpoint folder, its parameters being the live tensors; no gradient on anything.

    Raises UnsupportedModel where one is packed, in pieces, or not live.
    """
    config = AutoConfig.from_pretrained(folder)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model.tie_weights()
    for name, parameter in list(model.named_parameters()):
        module, _, own = name.rpartition(".")
        view = _view(live, name, parameter)
        setattr(model.get_submodule(module), own, Parameter(view, requires_grad=False))
    model.tie_weights()
    device = next(model.parameters()).device
    for module in model.modules():
        for own, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, own, buffer.to(device))
    return model.eval()


def move_onto(model: PreTrainedModel, live: LiveWeights) -> None:
    """Let a model of `model_on` compute with the next life of its server; its parameters stay the same
    objects.
    """
    for name, parameter in model.named_parameters():
        parameter.data = _view(live, name, parameter)


def _view(live: LiveWeights, name: str, parameter: Tensor) -> Tensor:
    if name not in live.names:
        raise UnsupportedModel(f"{name}: the model has it, the server's weights do not")
    view = live.view(name)
    if view is None:
        raise UnsupportedModel(f"{name}: the server keeps it packed or in pieces; the learner needs a copy")
    if view.shape != parameter.shape:
        raise UnsupportedModel(f"{name}: {tuple(view.shape)} is live, {tuple(parameter.shape)} is needed")
    return view
