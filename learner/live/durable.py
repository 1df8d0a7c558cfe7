"""The durable version that a server starts with: `live.json` in the versions folder names it, a safetensors
file holds the tensors that differ from the checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from learner.live.tensors import LiveTensors
from policies.errors import ConfigError

BASE = "base"


class Durable(BaseModel):
    """`live.json`: `file` holds version `version` after `step` steps on the model of `model_hash`; null: the
    base.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    version: str = Field(BASE, min_length=1, max_length=256)
    step: int = Field(0, ge=0)
    file: str | None = None
    model_hash: str | None = None
    sha256: str | None = None


def read_durable(folder: Path | None) -> Durable:
    """The version that `<folder>/live.json` names; the base when there is none. Raises ConfigError when it
    is damaged.
    """
    path = None if folder is None else folder / "live.json"
    if path is None or not path.exists():
        return Durable()
    try:
        return Durable.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: damaged; restore it, or remove it to start from the base model"
        ) from error


def apply_durable(folder: Path, durable: Durable, model_hash: str, live: LiveTensors) -> None:
    """Write the version's tensors into the arena; all are checked before the first is written.

    Raises ConfigError when the file is missing or damaged or belongs to another model.
    """
    if durable.model_hash is not None and durable.model_hash != model_hash:
        raise ConfigError(
            f"{folder / 'live.json'}: version {durable.version} belongs to another model; serve that "
            "one, or use another HEEDLOOP_HOME"
        )
    if durable.file is not None:
        for name, tensor in _load(folder / durable.file, durable, live).items():
            live.write(name, tensor)


def _load(path: Path, durable: Durable, live: LiveTensors) -> dict[str, torch.Tensor]:
    way_out = "restore the file, or name an older version in live.json"
    try:
        if durable.sha256 is not None and _sha256(path) != durable.sha256:
            raise ConfigError(f"{path}: damaged, its sha256 is not the one of live.json; {way_out}")
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: version {durable.version} cannot be read ({error}); {way_out}") from error
    for name, tensor in tensors.items():
        if name not in live.names or tuple(tensor.shape) != live.shape(name):
            raise ConfigError(f"{path}: {name} {tuple(tensor.shape)} is not in the served model; {way_out}")
    return tensors


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
