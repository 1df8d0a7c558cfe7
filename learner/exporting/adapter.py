"""A version as a LoRA adapter in the format of PEFT: for each changed matrix W = W_base + B @ A * alpha / r.

`adapter_config.json` and `adapter_model.safetensors`, whose keys are
`base_model.model.<module>.lora_A.weight` [r, in] and `lora_B.weight` [out, r]
(https://huggingface.co/docs/peft/developer_guides/checkpoint). One rank for all, alpha = r: the scale is 1.
What is no matrix of a linear layer cannot be in such an adapter: it is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.exporting.low_rank import Factors, factorise, rank_for, spectrum
from policies.errors import InputError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."

Changes = Iterable[tuple[str, Tensor]]
"""(name of a tensor, what was added to it), one after the other."""
Tell = Callable[[str], None]


@dataclass
class Adapter:
    """What an adapter holds: sums of squares of the changes it is near (`energy`) and of the rest (`lost`),
    and those of the tensors that it cannot hold, by name (`left_out`).
    """

    rank: int
    energy: float = 0.0
    lost: float = 0.0
    by_kind: dict[str, tuple[float, float]] = field(default_factory=dict)
    left_out: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> float:
        """Share of the energy of the changes, of matrices and of all else, that is in the adapter."""
        whole = self.energy + sum(self.left_out.values())
        return 1 - (self.lost + sum(self.left_out.values())) / whole if whole else 1.0


def choose_rank(changes: Changes, linear: frozenset[str], share: float) -> int:
    """Return the least rank that keeps a share of the energy of all matrices. InputError: none changed."""
    spectra = [spectrum(change) for name, change in changes if name in linear and bool(change.any())]
    if not spectra:
        raise InputError("no matrix of a linear layer differs from the base: there is nothing to factorise")
    return rank_for(spectra, share)


def write_adapter(
    folder: Path, changes: Changes, linear: frozenset[str], rank: int, base: str, tell: Tell = lambda _: None
) -> Adapter:
    """Write the adapter of rank `rank` into a folder; `linear` are the weights of linear layers.

    Raises InputError where no such weight changes.
    """
    adapter, tensors = Adapter(rank), {}
    for name, change in changes:
        if name not in linear:
            squares = change.double().square().sum().item()
            adapter.left_out |= {name: squares} if squares else {}
            continue
        found = factorise(change, rank)
        _count(adapter, name, found)
        tensors |= _named(name, found, rank)
        tell(f"{name}: {1 - found.lost / found.energy if found.energy else 1:.1%} of its energy kept")
    if not adapter.energy:
        raise InputError("no matrix of a linear layer differs from the base: there is nothing to factorise")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(_config(adapter, base), indent=2) + "\n")
    return adapter


def read_products(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield (name of the weight, B @ A * alpha / r) of an adapter's files, fp32."""
    config = json.loads((folder / CONFIG).read_text())
    scale = config["lora_alpha"] / config["r"]
    with safe_open(folder / WEIGHTS, "pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            if key.endswith(".lora_A.weight"):
                a, b = file.get_tensor(key), file.get_tensor(key.replace(".lora_A.", ".lora_B."))
                name = key.removeprefix(_PREFIX).replace(".lora_A.weight", ".weight")
                yield name, (b.float() @ a.float()) * scale


def _named(name: str, found: Factors, rank: int) -> dict[str, Tensor]:
    """Return the tensors of one matrix; one with a side below the rank is filled up with zeros."""
    key = f"{_PREFIX}{name.removesuffix('.weight')}"
    missing = rank - found.rank
    a, b = (
        torch.nn.functional.pad(found.a, (0, 0, 0, missing)),
        torch.nn.functional.pad(found.b, (0, missing)),
    )
    return {f"{key}.lora_A.weight": a.contiguous(), f"{key}.lora_B.weight": b.contiguous()}


def _count(adapter: Adapter, name: str, found: Factors) -> None:
    adapter.energy += found.energy
    adapter.lost += found.lost
    energy, lost = adapter.by_kind.get(_module(name), (0.0, 0.0))
    adapter.by_kind[_module(name)] = (energy + found.energy, lost + found.lost)


def _module(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]


def _config(adapter: Adapter, base: str) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(adapter.by_kind),
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
