"""Where each parameter of a vLLM model goes in the arena, and how the model computes from there.

On a CPU parameters move in after loading, when vLLM has packed what it packs. On a GPU nothing is packed, and
they move in before: the arena takes the place of torch's memory, so that there is never a second copy.

Three ways for a layer to multiply: vLLM's packed kernel where this CPU has it, torch's own, and in float32 on
a CPU without instructions for bfloat16 (`learner/live/products.py`).

Two private touches of vLLM: `cpu_linear` (the kernel of a layer) and `_cpu_unpacked_conv_weight` (marks a
convolution that vLLM packed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

from learner.live import layout
from learner.live.arena import Arena
from learner.live.manifest import TensorEntry
from learner.live.products import packed_linear, plain_linear
from policies.errors import UnsupportedModel

Loaded = dict[str, tuple[int, tuple[int, ...]]]  # address and shape of each parameter just after loading


@dataclass(frozen=True)
class Home:
    """A parameter that moves into the arena: `module` uses it; `moves` says whether its own storage goes
    there.
    """

    module: nn.Module
    parameter: nn.Parameter
    moves: bool


def plan(model: nn.Module, loaded: Loaded) -> tuple[dict[str, TensorEntry], dict[str, Home]]:
    """Every parameter with its layout. A head is kept twice: rows for look-ups, packed for the product."""
    entries: dict[str, TensorEntry] = {}
    homes: dict[str, Home] = {}
    first: dict[int, str] = {}
    kernel = next(model.parameters()).device.type == "cpu" and kernel_packs()
    for path, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            name = f"{path}.{own}" if path else own
            known = first.setdefault(id(parameter), name)
            if known == name:
                layout_ = _layout(module, own, parameter, kernel)
                _refuse_moved(name, parameter, loaded, layout_)
                entries[name] = _entry(parameter, layout_, loaded[name][1])
                homes[name] = Home(module, parameter, True)
            else:
                entries[name] = TensorEntry(offset=0, shape=(), dtype=entries[known].dtype, alias=known)
            if isinstance(module, VocabParallelEmbedding) and own == "weight":
                packs = kernel and layout.packable(*parameter.shape, parameter.dtype)
                if isinstance(module, ParallelLMHead) and packs:
                    copy = _entry(parameter, "vnni32", tuple(parameter.shape), copy_of=known)
                    entries[f"{name}#packed"] = copy
                    homes[f"{name}#packed"] = Home(module, parameter, False)
                elif hasattr(module, "cpu_linear"):  # drops vLLM's packed copy, which would be stale
                    module.cpu_linear = plain_linear(parameter)
    return entries, homes


def _entry(p: Tensor, kind: Any, shape: tuple[int, ...], copy_of: str | None = None) -> TensorEntry:
    return TensorEntry(offset=0, shape=shape, dtype=str(p.dtype)[6:], layout=kind, copy_of=copy_of)


def _layout(module: nn.Module, own: str, parameter: Tensor, kernel: bool) -> str:
    if isinstance(module, LinearBase) and own == "weight":
        if hasattr(module, "_cpu_unpacked_conv_weight"):
            return "conv32"
        if kernel and parameter.ndim == 2 and layout.packable(*parameter.shape, parameter.dtype):
            return "vnni32"
    return "plain"


def _refuse_moved(name: str, p: Tensor, loaded: Loaded, kind: str) -> None:
    if name not in loaded or p.numel() == 0:
        raise UnsupportedModel(f"live weights: {name} is removed or made anew by vLLM after loading")
    if kind != "conv32" and (p.data_ptr(), tuple(p.shape)) != loaded[name]:
        raise UnsupportedModel(f"live weights: {name} is rearranged by vLLM after loading")


def settle_in(arena: Arena, entries: dict[str, TensorEntry], homes: dict[str, Home]) -> None:
    """Give every parameter, not loaded yet, its memory in the arena. Nothing may be packed."""
    for name, home in homes.items():
        home.parameter.data = arena.tensor(entries[name]).view(entries[name].shape)


def move(memory: Tensor, entry: TensorEntry, home: Home) -> None:
    """Copy one parameter into its memory and make the module compute with that."""
    module, parameter = home.module, home.parameter
    if entry.layout == "vnni32":
        rows, columns = entry.shape
        layout.write_rows(memory, rows, columns, 0, parameter.data)
        module.cpu_linear = packed_linear(memory.view(rows, columns), rows)
        if home.moves:  # as vLLM itself does: the plain weight is not needed beside the packed one
            module.weight = nn.Parameter(torch.empty(0, dtype=parameter.dtype), requires_grad=False)
        return
    memory.view(parameter.shape).copy_(parameter.data)
    parameter.data = memory.view(parameter.shape)
    if entry.layout == "conv32":
        _check_convolution(memory, entry, module)
    elif isinstance(module, LinearBase) and parameter.ndim == 2:
        module.cpu_linear = plain_linear(parameter)


def _check_convolution(memory: Tensor, entry: TensorEntry, module: Any) -> None:
    """vLLM packed it itself: see that we can read it, and spoil its plain copy, which would be stale."""
    rows, columns = entry.shape[0], entry.shape[-1]
    plain = module._cpu_unpacked_conv_weight
    if rows % layout.BLOCK or not torch.equal(layout.read_rows(memory, rows, columns, 0, rows), plain):
        raise UnsupportedModel(f"live weights: a convolution {entry.shape} is packed in an unknown way")
    module._cpu_unpacked_conv_weight = "none: live weights"  # read by drafters only; those are refused


def kernel_packs() -> bool:
    """Whether this CPU's kernel packs as `layout` says (asked of the kernel itself); else layers stay
    plain.
    """
    if not hasattr(torch.ops._C, "convert_weight_packed"):
        return False
    weight = torch.arange(64 * 64).to(torch.int16).view(torch.bfloat16).view(64, 64)
    ours = torch.empty_like(weight)
    layout.write_rows(ours.flatten(), 64, 64, 0, weight)
    theirs = torch.ops._C.convert_weight_packed(weight)
    return theirs.dtype == weight.dtype and torch.equal(
        theirs.flatten().view(torch.int16), ours.flatten().view(torch.int16)
    )


def padding(model: nn.Module) -> dict[str, int]:
    """Elements of each vocabulary matrix that are real: vLLM pads its rows to 64, with zeros."""
    return {
        f"{path}.weight": module.shard_indices.num_org_elements * module.embedding_dim
        for path, module in model.named_modules()
        if isinstance(module, VocabParallelEmbedding)
    }


def refuse_outside(model: nn.Module, arena: Arena) -> None:
    """Raises UnsupportedModel when a parameter, or a CPU kernel's own copy of one, is not in the arena."""
    outside = [n for n, p in model.named_parameters() if p.numel() and not arena.holds(p.data)]
    kernels = [
        n
        for n, m in model.named_modules()
        if hasattr(m, "cpu_linear") and not isinstance(m, LinearBase | VocabParallelEmbedding)
    ]
    if outside or kernels:
        raise UnsupportedModel(
            f"live weights: {(outside + kernels)[0]} is not in the shared arena after loading"
        )
