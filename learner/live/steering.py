"""The steering buffer: one vector for each decoder layer, added to the residual stream after it.

vLLM's decoder layers return (change, residual), and the stream is their sum: what is added to the change is
added to the stream. Off is -0.0 everywhere, for x + -0.0 is x bit for bit, whatever x (IEEE 754, 6.3); +0.0
would turn a -0.0 into a +0.0.

Server-wide: the pinned vLLM hands a model no request's own arguments. In eager mode on a CPU the addition is
left out while a word of the control page says that nothing steers; a traced or captured graph cannot branch,
and always adds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from learner.live.control import PAGE, STEERS

_DECODER = re.compile(r"(?:^|\.)layers\.(\d+)$")
_OTHER_TOWERS = ("visual", "vision", "audio")

Hook = Callable[[nn.Module, Any, Any], Any]


def decoder_layers(model: nn.Module) -> dict[int, nn.Module]:
    """Return the decoder layers of the text model that this process holds, by their number."""
    found = {}
    for name, module in model.named_modules():
        place = _DECODER.search(name)
        if place is not None and not any(tower in name for tower in _OTHER_TOWERS):
            found[int(place[1])] = module
    return found


def silence(buffer: Tensor) -> None:
    """Fill a buffer with what changes nothing."""
    buffer.fill_(-0.0)


def steer(model: nn.Module, buffer: Tensor, page: memoryview) -> None:
    """Let every decoder layer add its row of `buffer` [layers, width]; `page` is the control page."""
    silence(buffer)
    words = page[:PAGE].cast("B").cast("q")
    for number, layer in decoder_layers(model).items():
        layer.register_forward_hook(_adding(buffer[number], words))


def _adding(row: Tensor, words: memoryview) -> Hook:
    on_cpu = row.device.type == "cpu"

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if on_cpu and not torch.compiler.is_compiling() and not words[STEERS]:
            return output
        if isinstance(output, tuple):
            return (output[0] + row, *output[1:])
        return output + row

    return hook
