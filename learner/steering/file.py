"""A steering vector as a file: its direction at every layer, where and how strongly it is added.

`steering/NAME.safetensors` of the state folder: fp32 `mean` and `pca` [layers, width]; the metadata key
`heedloop` is a `SteeringVector` as JSON.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.steering.extraction import Directions, Method, rows_of
from learner.vectors.expression import require_name
from policies.errors import InputError

FOLDER = "steering"
_KEY = "heedloop"


class SteeringVector(BaseModel):
    """What a steering vector is. `norm` is its length at `layer` with scale 1 (times `strength`).

    `off` and `on` are the shares of answers that showed the behaviour without it and with it, where it was
    chosen by answers; `judge` says who judged them. `nll_ratio`: general NLL, in times of that without it.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    name: str
    model_hash: str
    method: Method
    layer: int
    strength: float
    norm: float
    pairs: int
    source: str
    direction: str | None = None
    off: float | None = None
    on: float | None = None
    nll_ratio: float | None = None
    judge: str | None = None


class Steering:
    """The steering vectors of one state folder, bound to one base model."""

    def __init__(self, home: Path, model_hash: str) -> None:
        self.folder, self.model_hash = home / FOLDER, model_hash

    def names(self) -> list[str]:
        """Return the names of all, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    def keep(self, vector: SteeringVector, directions: Directions) -> None:
        """Write a vector; one of that name is replaced. Raises InputError where it is not finite."""
        tensors = {"mean": directions.mean.contiguous(), "pca": directions.pca.contiguous()}
        if not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
            raise InputError(f"steering vector {vector.name}: not finite; nothing was written")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(vector.name)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, {"format": "pt", _KEY: vector.model_dump_json()})
        partial.chmod(0o600)
        os.replace(partial, path)

    def open(self, name: str) -> SteeringVector:
        """Return what a vector is. Raises InputError for an unknown name, a damaged file, another base."""
        path = self._path(name)
        if not path.exists():
            known = ", ".join(self.names()) or "none yet"
            raise InputError(f"no steering vector {name!r} (there are: {known}; `steer extract` makes one)")
        try:
            with safe_open(path, "pt") as file:
                found = SteeringVector.model_validate_json((file.metadata() or {}).get(_KEY, ""))
        except (SafetensorError, OSError, ValidationError) as error:
            raise InputError(f"{path}: no steering vector, or damaged ({type(error).__name__})") from error
        if found.model_hash != self.model_hash:
            raise InputError(f"steering vector {name}: of another base model ({found.model_hash[:12]})")
        return found

    def rows(self, name: str, scale: float = 1.0, layer: int | None = None) -> Tensor:
        """Return what is added to each layer. Raises InputError as `open`, and for a layer out of range."""
        vector = self.open(name)
        with safe_open(self._path(name), "pt") as file:
            directions = Directions(file.get_tensor("mean"), file.get_tensor("pca"))
        at, layers = vector.layer if layer is None else layer, directions.mean.shape[0]
        if not 0 <= at < layers:
            raise InputError(f"layer {at} is out of range: this model has layers 0 to {layers - 1}")
        return rows_of(directions, vector.method, at, vector.strength * scale, layers)

    def _path(self, name: str) -> Path:
        return self.folder / f"{require_name(name)}.safetensors"
