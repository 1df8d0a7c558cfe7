"""The manifest of an arena: which bytes of the shared memory are which weights. Written by the server, read
by all.

A server of several ranks (tensor parallel) has one manifest and one arena a rank, in one folder; that of
rank 0 is written last. No torch here: a process that only wants to know who serves may read it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from learner.live.privacy import require_private
from policies.errors import ConfigError, Unreachable

FORMAT = 1
NAME = "rank0.json"
"""The manifest of rank 0: the writer locks it."""
DATA = "rank0.bin"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorEntry(_Frozen):
    """One tensor of the server: `offset` in bytes; `alias` names the entry that is the same memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    layout: Literal["plain", "vnni32", "conv32"] = "plain"
    alias: str | None = None
    copy_of: str | None = None


class Run(_Frozen):
    """`count` elements from `source` on of the flat HF parameter are elements from `start` on of `tensor`.

    A column slice, which a rank of several may hold, is `repeat` such runs: `step` elements apart in the
    parameter, one after the other in the tensor.
    """

    tensor: str
    source: int
    start: int
    count: int
    repeat: int = 1
    step: int = 0

    @property
    def elements(self) -> int:
        """How many elements of the tensor these are."""
        return self.count * self.repeat


class Checkpoint(_Frozen):
    """Shape and dtype of a parameter in the checkpoint on disk."""

    shape: tuple[int, ...]
    dtype: str


class Device(_Frozen):
    """Where the weights lie that are not in the file: the GPU's uuid, the CUDA IPC handle of their one block
    in hexadecimal.
    """

    uuid: str
    handle: str = Field(pattern="^[0-9a-f]{128}$")


class Manifest(_Frozen):
    """Format 1. `hf` maps every parameter of the checkpoint, in its order, to the runs that hold it."""

    format: int = FORMAT
    generation: str
    model: str
    model_hash: str
    pid: int
    started: int
    rank: int = 0
    ranks: int = 1
    device: Device | None = None
    nbytes: int
    prefix_caching: bool
    control: TensorEntry
    steering: TensorEntry
    tensors: dict[str, TensorEntry]
    hf: dict[str, tuple[Run, ...]]
    checkpoint: dict[str, Checkpoint]
    lost: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()

    def owner_alive(self) -> bool:
        """Whether the very server process that wrote this still runs (pids are used again: the start time
        tells).
        """
        return process_started(self.pid) == self.started


def process_started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), field 22); None when there is none or a
    zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest in place in one step, readable by the owner only."""
    path = folder / manifest_name(manifest.rank)
    fresh = path.with_suffix(".json.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(manifest.model_dump_json(exclude_defaults=False))
    os.replace(fresh, path)


def manifest_name(rank: int) -> str:
    """File name of a rank's manifest."""
    return f"rank{rank}.json"


def data_name(rank: int) -> str:
    """File name of a rank's shared memory."""
    return f"rank{rank}.bin"


def parse_manifest(text: str, path: Path) -> Manifest:
    """Read a manifest's text. Raises ConfigError when it is damaged or of another format."""
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            f"{path}: not a manifest of live weights ({error.error_count()} errors); start the server again"
        ) from error
    if manifest.format != FORMAT:
        raise ConfigError(f"{path}: format {manifest.format}, this program reads format {FORMAT}")
    return manifest


def read_manifests(folder: Path) -> tuple[Manifest, ...]:
    """Read the manifests of all ranks, in order. Raises as `read_manifest`; Unreachable when they are of two
    servers.
    """
    first = read_manifest(folder)
    ranks = (first, *(read_manifest(folder, rank) for rank in range(1, first.ranks)))
    if {(m.generation, m.ranks) for m in ranks} != {(first.generation, first.ranks)}:
        raise Unreachable(f"{folder}: the ranks are of two servers; is one just starting?")
    return ranks


def read_manifest(folder: Path, rank: int = 0) -> Manifest:
    """Read the manifest of one rank.

    Raises Unreachable when there is none, ConfigError when it is damaged or not private to this user.
    """
    path = folder / manifest_name(rank)
    try:
        require_private(folder)
        require_private(path)
        return parse_manifest(path.read_text(), path)
    except FileNotFoundError as error:
        raise Unreachable(
            f"{path}: no live weights here; is the server up, with --load-format live?"
        ) from error
