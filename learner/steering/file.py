"""A steering vector as a file: its direction at every layer, where and how strongly it is added.

`steering/NAME.safetensors` of the state folder: fp32 `mean` and `pca` [layers, width]; the metadata key
`heedloop` is a `SteeringVector` as JSON. The id of a vector is a hash of its file. A file that is made anew
leaves the one before as `steering/earlier/NAME-ID.safetensors`: versions in which that was on still find it,
as long as they can be restored.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.steering.extraction import Directions, Method, rows_of
from learner.vectors.expression import require_name
from policies.errors import InputError

FOLDER, EARLIER = "steering", "earlier"
_KEY = "heedloop"


class SteeringVector(BaseModel):
    """What a steering vector is. `norm` is its length at `layer` with scale 1 (times `strength`).

    `directions` are those of the stored corrections that it was made of, word for word; `examples` the ids of
    those that made an instant one.
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
    directions: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    off: float | None = None
    on: float | None = None
    nll_ratio: float | None = None
    judge: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_direction(cls, fields: Any) -> Any:
        """Read a file of when a vector had at most one `direction`."""
        if isinstance(fields, dict) and isinstance(fields.get("direction"), str):
            return {"directions": (fields["direction"],)} | fields
        return fields


class Steering:
    """The steering vectors of one state folder, bound to one base model."""

    def __init__(self, home: Path, model_hash: str) -> None:
        self.folder, self.model_hash = home / FOLDER, model_hash

    def names(self) -> list[str]:
        """Return the names of all, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    def has(self, name: str) -> bool:
        """Tell whether there is a vector of that name. Raises InputError for what cannot be a name."""
        return self._path(name).exists()

    def keep(self, vector: SteeringVector, directions: Directions) -> str:
        """Write a vector and return its id; one that had the name is from now on found by its id only.

        Raises InputError where it is not finite.
        """
        tensors = {"mean": directions.mean.contiguous(), "pca": directions.pca.contiguous()}
        if not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
            raise InputError(f"steering vector {vector.name}: not finite; nothing was written")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(vector.name)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, {"format": "pt", _KEY: vector.model_dump_json()})
        partial.chmod(0o600)
        self._set_aside(vector.name)
        os.replace(partial, path)
        return _id_of(path)

    def id_of(self, name: str) -> str:
        """Return the id of the vector that has a name now. Raises InputError for an unknown name."""
        return _id_of(self._file(name, None))

    def open(self, name: str, vector_id: str | None = None) -> SteeringVector:
        """Return what a vector is: that of an id, or absent the one that has the name now.

        Raises InputError for one that is not there, a damaged file, another base.
        """
        return self._read(name, self._file(name, vector_id))

    def rows(
        self, name: str, scale: float = 1.0, layer: int | None = None, vector_id: str | None = None
    ) -> Tensor:
        """Return what is added to each layer. Raises InputError as `open`, and for a layer out of range."""
        path = self._file(name, vector_id)
        vector = self._read(name, path)
        with safe_open(path, "pt") as file:
            directions = Directions(file.get_tensor("mean"), file.get_tensor("pca"))
        at, layers = vector.layer if layer is None else layer, directions.mean.shape[0]
        if not 0 <= at < layers:
            raise InputError(f"layer {at} is out of range: this model has layers 0 to {layers - 1}")
        return rows_of(directions, vector.method, at, vector.strength * scale, layers)

    def forget_earlier(self, needed: Collection[str]) -> None:
        """Delete the files of names that were taken anew, all but those with an id that is needed."""
        for path in (self.folder / EARLIER).glob("*.safetensors"):
            if path.stem.rpartition("-")[2] not in needed:
                path.unlink(missing_ok=True)

    def _read(self, name: str, path: Path) -> SteeringVector:
        try:
            with safe_open(path, "pt") as file:
                found = SteeringVector.model_validate_json((file.metadata() or {}).get(_KEY, ""))
        except (SafetensorError, OSError, ValidationError) as error:
            raise InputError(f"{path}: no steering vector, or damaged ({type(error).__name__})") from error
        if found.model_hash != self.model_hash:
            raise InputError(f"steering vector {name}: of another base model ({found.model_hash[:12]})")
        return found

    def _path(self, name: str) -> Path:
        return self.folder / f"{require_name(name)}.safetensors"

    def _earlier(self, name: str, vector_id: str) -> Path:
        return self.folder / EARLIER / f"{require_name(name)}-{vector_id}.safetensors"

    def _file(self, name: str, vector_id: str | None) -> Path:
        path = self._path(name)
        if vector_id is None:
            if path.exists():
                return path
            known = ", ".join(self.names()) or "none yet"
            raise InputError(f"no steering vector {name!r} (there are: {known}; `steer extract` makes one)")
        for found in (path, self._earlier(name, vector_id)):
            if found.exists() and _id_of(found) == vector_id:
                return found
        raise InputError(f"steering vector {name}: the file with the id {vector_id} is gone, or damaged")

    def _set_aside(self, name: str) -> None:
        """Let the vector that has a name be found by its id, too."""
        path = self._path(name)
        if path.exists():
            earlier = self._earlier(name, _id_of(path))
            earlier.parent.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileExistsError):
                os.link(path, earlier)


def _id_of(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
