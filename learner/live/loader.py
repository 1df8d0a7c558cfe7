"""Load format `live`: vLLM's default loader, after which every weight lies in a shared arena with a manifest.

One private touch of vLLM, to watch on an upgrade: `_cpu_skip_gemm_dispatch` keeps a Linear weight unpacked.
If it vanishes, the weight is gone after loading and the loader refuses.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import ModelConfig, VllmConfig
from vllm.config.load import LoadConfig
from vllm.logger import init_logger
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from learner.base_model import checkpoint_folder, model_hash
from learner.live.arena import Arena, place
from learner.live.control import PAGE, ControlPage
from learner.live.durable import Durable, apply_durable, read_durable
from learner.live.folder import default_arena
from learner.live.lifetime import die_with_parent
from learner.live.manifest import Checkpoint, Manifest, TensorEntry, process_started
from learner.live.names import text_name
from learner.live.placement import Home, Loaded, move, padding, plan, refuse_outside, settle_in
from learner.live.ranks import Life
from learner.live.steering import decoder_layers, steer
from learner.live.support import refuse_engine
from learner.live.tensors import LiveTensors
from learner.live.trace import LoadTrace, covered, joined
from policies.errors import UnsupportedModel

logger = init_logger("vllm.heedloop")


class LiveLoader(DefaultModelLoader):
    """Takes the folders `arena` and `versions` from --model-loader-extra-config; the rest is vLLM's own."""

    def __init__(self, load_config: LoadConfig) -> None:
        extra = dict(load_config.model_loader_extra_config or {})
        self.folder = Path(extra.pop("arena", None) or default_arena())
        versions = extra.pop("versions", None)
        for ours in ("answers", "prefix_cache", "prefix_cache_steps"):
            extra.pop(ours, None)  # read by our middleware and our scheduler
        self.versions = None if versions is None else Path(versions)
        self._arena: Arena | None = None
        super().__init__(
            dataclasses.replace(load_config, load_format="auto", model_loader_extra_config=extra)
        )

    def create_model(self, vllm_config: VllmConfig, model_config: ModelConfig, prefix: str = "") -> nn.Module:
        """Make the empty model, and ask vLLM to leave its Linear weights unpacked: the arena packs them."""
        model = super().create_model(vllm_config, model_config, prefix)
        for module in model.modules():
            if isinstance(module, LinearBase):
                if not isinstance(module.quant_method, UnquantizedLinearMethod):
                    raise UnsupportedModel(f"live weights: {type(module.quant_method).__name__} is quantised")
                if module.weight.ndim == 2:
                    module._cpu_skip_gemm_dispatch = True
        return model

    def get_all_weights(
        self, model_config: ModelConfig, model: nn.Module
    ) -> Generator[tuple[str, Tensor], None, None]:
        """The checkpoint's tensors, seen by the trace as they pass."""
        yield from self._trace.watch(super().get_all_weights(model_config, model))

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        """Load as vLLM does, and trace it; on a GPU straight into the arena."""
        if _device(model).type == "cuda":
            self._arena = self._room_on_gpu(model, model_config)
        parameters = dict(model.named_parameters())
        self._trace = LoadTrace({n: p.data for n, p in parameters.items()})
        with self._trace:
            super().load_weights(model, model_config)
        self._loaded = _places(model)

    def load_model(self, vllm_config: VllmConfig, model_config: ModelConfig, prefix: str = "") -> nn.Module:
        """Load, move every weight into the arena, apply the durable version, publish the manifest."""
        die_with_parent()
        refuse_engine(vllm_config, model_config)
        self._life = Life.begin(self.folder)
        model: nn.Module = super().load_model(vllm_config, model_config, prefix)
        began = time.perf_counter()
        manifest = _publish(self, model, vllm_config, model_config)
        logger.info(
            "live weights: %d tensors, %d MiB in %s, %.2f s",
            *(len(manifest.hf), manifest.nbytes >> 20, self.folder, time.perf_counter() - began),
        )
        return model

    def _room_on_gpu(self, model: nn.Module, model_config: ModelConfig) -> Arena:
        rooms = _rooms(model, model_config, _places(model))
        device = _device(model)
        for home in rooms.homes.values():
            home.parameter.data = torch.empty(0, dtype=home.parameter.dtype, device=device)
        torch.cuda.empty_cache()
        arena = Arena.create_on_gpu(self.folder, rooms.nbytes, device, self._life.rank)
        settle_in(arena, rooms.entries, rooms.homes)
        return arena


@dataclass(frozen=True)
class _Rooms:
    """The whole arena of a rank: every tensor with its offset, and the steering buffer behind them."""

    entries: dict[str, TensorEntry]
    homes: dict[str, Home]
    steering: TensorEntry
    nbytes: int


def _rooms(model: nn.Module, model_config: ModelConfig, loaded: Loaded) -> _Rooms:
    entries, homes = plan(model, loaded)
    sizes = {n: prod(e.shape) * getattr(torch, e.dtype).itemsize for n, e in entries.items()}
    steering = _steering(model, model_config)
    placed, start = place(entries, sizes, PAGE)
    reserved, nbytes = place({"": steering}, {"": prod(steering.shape) * 2}, start)
    return _Rooms(placed, homes, reserved[""], nbytes)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _places(model: nn.Module) -> Loaded:
    return {n: (p.data_ptr(), tuple(p.shape)) for n, p in model.named_parameters()}


def _publish(
    loader: LiveLoader, model: nn.Module, vllm_config: VllmConfig, model_config: ModelConfig
) -> Manifest:
    rooms, life = _rooms(model, model_config, loader._loaded), loader._life
    arena = loader._arena
    if arena is None:
        arena = Arena.create(loader.folder, rooms.nbytes, life.rank)
        for name, home in rooms.homes.items():
            move(arena.tensor(rooms.entries[name]), rooms.entries[name], home)
    refuse_outside(model, arena)
    manifest = _manifest(
        loader,
        padding(model),
        model=model_config.model,
        model_hash=model_hash(checkpoint_folder(model_config.model, model_config.revision)),
        device=arena.device(),
        nbytes=rooms.nbytes,
        prefix_caching=bool(vllm_config.cache_config.enable_prefix_caching),
        control=TensorEntry(offset=0, shape=(PAGE // 8,), dtype="int64"),
        steering=rooms.steering,
        tensors=rooms.entries,
    )
    _refuse_incomplete(manifest)
    durable = Durable()
    if loader.versions is not None:
        pointer, tensors = read_durable(loader.versions), LiveTensors([(manifest, arena)])
        durable = apply_durable(loader.versions, pointer, manifest.model_hash, tensors)
    ControlPage(memoryview(arena.map)).format(manifest.generation, durable.version, durable.step)
    buffer = arena.tensor(manifest.steering).view(manifest.steering.shape)
    steer(model, buffer, memoryview(arena.map))
    life.announce(manifest)
    loader._trace.sources.clear()
    return manifest


def _manifest(loader: LiveLoader, real: dict[str, int], **fields: Any) -> Manifest:
    trace, life = loader._trace, loader._life
    hf = {text_name(name): joined(trace.runs[name]) for name in trace.sources if name in trace.runs}
    checkpoint = {
        text_name(n): Checkpoint(shape=tuple(t.shape), dtype=str(t.dtype)[6:])
        for n, t in trace.sources.items()
    }
    tensors: dict[str, TensorEntry] = fields["tensors"]
    filled = covered(run for runs in hf.values() for run in runs)
    own = {n: e for n, e in tensors.items() if e.alias is None and e.copy_of is None}
    return Manifest(
        generation=life.generation,
        pid=os.getpid(),
        started=process_started(os.getpid()) or 0,
        rank=life.rank,
        ranks=life.ranks,
        hf=hf,
        checkpoint=checkpoint,
        lost=tuple(dict.fromkeys(trace.lost)),
        unmapped=tuple(n for n, e in own.items() if filled.get(n) != real.get(n, prod(e.shape))),
        **fields,
    )


def _steering(model: nn.Module, model_config: ModelConfig) -> TensorEntry:
    """The steering buffer (layers, hidden); of a layer that another rank has, the row stays unused."""
    layers = max(decoder_layers(model), default=-1) + 1
    return TensorEntry(offset=0, shape=(layers, model_config.get_hidden_size()), dtype="bfloat16")


def _refuse_incomplete(manifest: Manifest) -> None:
    """Raises UnsupportedModel when a weight does not come, once, from rows of the checkpoint."""
    ragged = []
    for name, runs in manifest.hf.items():
        packed = [(run, e.shape[-1]) for run in runs if (e := manifest.tensors[run.tensor]).layout != "plain"]
        ragged += [name for run, columns in packed if run.start % columns or run.elements % columns]
    for what, names in (
        ("changed while loading", manifest.lost),
        ("not whole in the checkpoint", manifest.unmapped),
        ("packed with borders inside a row", ragged),
    ):
        if names:
            raise UnsupportedModel(f"live weights: {len(names)} tensors are {what}, such as {names[0]}")
