"""The durable version that a server starts with: `live.json` in the versions folder names it.

Where its file is damaged, the nearest sound ancestor is taken in its place, the base model if there is none.
That is never silent: the log says so, the control page says which version the bytes are, and so does every
answer; the learner finds that it is not the one in force and tells the store.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from learner.live.tensors import LiveTensors
from learner.versioning.delta_file import DeltaFile
from learner.versioning.files import Damaged, require_sound
from policies.errors import ConfigError, GuardRefused

BASE = "base"
POINTER = "live.json"

logger = logging.getLogger("vllm.heedloop")


class Durable(BaseModel):
    """A version: `file` holds how the weights after `step` steps differ from the base; null: not at all."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    version: str = Field(BASE, min_length=1, max_length=256)
    step: int = Field(0, ge=0)
    file: str | None = None
    sha256: str | None = None


class Pointer(Durable):
    """`live.json`: the version in force, on the model of `model_hash`, and its ancestors, nearest first."""

    model_hash: str | None = None
    ancestors: tuple[Durable, ...] = ()


def read_durable(folder: Path) -> Pointer:
    """The version that `<folder>/live.json` names; the base when there is none, or none that can be read."""
    path = folder / POINTER
    try:
        return Pointer.model_validate_json(path.read_text())
    except FileNotFoundError:
        return Pointer()
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        why = type(error).__name__
        logger.error("live weights: %s is damaged (%s); serving the base till the learner comes", path, why)
        return Pointer()


def apply_durable(folder: Path, pointer: Pointer, model_hash: str, live: LiveTensors) -> Durable:
    """Write a version's tensors into an arena that holds the base model's; return the version.

    It is the one in force, or its nearest ancestor whose file is whole: that is known before the first byte
    is written. Raises ConfigError when it belongs to another model.
    """
    if pointer.model_hash is not None and pointer.model_hash != model_hash:
        raise ConfigError(
            f"{folder / POINTER}: version {pointer.version} belongs to another model; serve that "
            "one, or use another HEEDLOOP_HOME"
        )
    for durable in (pointer, *pointer.ancestors):
        try:
            if durable.file is not None:
                _write(folder / durable.file, durable, model_hash, live)
        except Damaged as error:
            logger.error("live weights: version %s cannot be applied: %s", durable.version, error)
            continue
        return durable
    logger.error("live weights: no version can be read; serving the base model")
    return Durable()


def _write(path: Path, durable: Durable, model_hash: str, live: LiveTensors) -> None:
    require_sound(path, durable.sha256)
    try:
        with DeltaFile(path, model_hash) as deltas:
            for name, shape in deltas.shapes.items():
                if name not in live.names or shape != live.shape(name):
                    raise ConfigError(
                        f"{path}: {name} {shape} is not in the served model: name another in {POINTER}"
                    )
            for name in deltas.shapes:
                live.write(name, deltas.value(name, live.read(name)))
    except GuardRefused as error:
        if isinstance(error, Damaged):
            raise
        raise ConfigError(f"{path}: {error}") from error
