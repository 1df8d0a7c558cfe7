"""The folder `versions/` of a home: files of durable versions, and the pointer that a starting server reads.

`<id>.version` holds how the tensors of a version differ from the base model (`learner.versioning`); what is
absent is the base's. `<id>.trainer` holds what the trainer needs to go on from it. `live.json` names the
version in force, and which to take should its file be damaged: the plugin applies it before the server takes
its first request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from learner.live.durable import POINTER, Durable, Pointer
from learner.live.names import text_name
from learner.trainer import TrainerState
from learner.versioning import trainer_file
from learner.versioning.delta_file import SUFFIX, DeltaFile, Stored, write_deltas
from learner.versioning.files import Damaged, publish, require_sound
from store.versions import Version

Read = Callable[[str], Tensor]


class Archive:
    """The folder `versions/` of one home, bound to one base model by its hash."""

    def __init__(self, folder: Path, model_dir: Path, model_hash: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.model_dir = model_dir
        self.model_hash = model_hash

    def save(self, name: str, read: Read, tensor_names: Iterable[str]) -> Stored:
        """Write how the named tensors differ from the base; durable on return."""
        changes = ((tensor, read(tensor), base) for tensor, base in self.base(tensor_names))
        return write_deltas(self.folder / f"{name}{SUFFIX}", changes, self.model_hash)

    def save_trainer(self, name: str, state: TrainerState, read: Read) -> trainer_file.Saved:
        """Write a trainer's state at the weights that `read` gives; durable on return."""
        return trainer_file.write(self.folder / f"{name}{trainer_file.SUFFIX}", state, read)

    def trainer(self, version: Version, read: Read) -> TrainerState:
        """Return the trainer's state at a version, whose weights `read` gives.

        Raises Damaged where its file is missing or not the recorded one.
        """
        assert version.trainer is not None, "asked for versions that have one"
        path = self.folder / version.trainer
        require_sound(path, version.trainer_sha256)
        return trainer_file.load(path, read)

    def point(self, chain: Sequence[Version]) -> None:
        """Name the version that a starting server must apply, and after it those to take if it is damaged."""
        named = [
            Durable(version=v.id, step=v.last_step or 0, file=v.file, sha256=v.sha256)
            for v in chain
            if v.state == "good"
        ]
        pointer = Pointer(**named[0].model_dump(), model_hash=self.model_hash, ancestors=tuple(named[1:]))
        partial = self.folder / f"{POINTER}.partial"
        partial.write_text(pointer.model_dump_json())
        publish(partial, self.folder / POINTER)

    def tensors(
        self, version: Version, tensor_names: Iterable[str] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the version's value of each named tensor, one at a time, as they stand in the checkpoint.

        None means all. Raises Damaged when the file is missing or damaged, GuardRefused when it is of another
        model.
        """
        with nullcontext() if version.file is None else self._open(version) as deltas:
            for name, base in self.base(tensor_names):
                changed = deltas is not None and name in deltas.shapes
                yield name, deltas.value(name, base) if deltas is not None and changed else base

    def base(self, tensor_names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield the base model's value of each named tensor, as they stand in the checkpoint; None: all."""
        wanted = None if tensor_names is None else set(tensor_names)
        for shard in sorted(self.model_dir.glob("*.safetensors")):
            with safe_open(shard, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 - not a dict
                    name = text_name(stored)
                    if wanted is None or name in wanted:
                        yield name, file.get_tensor(stored)

    def changed(self, version: Version) -> frozenset[str]:
        """Return the names of the tensors in which a version differs from the base. Raises as `tensors`."""
        if version.file is None:
            return frozenset()
        with self._open(version) as deltas:
            return frozenset(deltas.shapes)

    def require_sound(self, version: Version) -> None:
        """Raise Damaged, naming the file, where a version's file is not the one that was written."""
        if version.file is not None:
            require_sound(self.folder / version.file, version.sha256)

    def is_sound(self, version: Version) -> bool:
        """Tell whether a version can be restored."""
        try:
            self.require_sound(version)
        except Damaged:
            return False
        return True

    def remove(self, name: str) -> None:
        """Delete a file of a version or of a trainer's state."""
        (self.folder / name).unlink(missing_ok=True)

    def sweep(self, kept: Iterable[str | None]) -> list[str]:
        """Delete the files of versions that are not `kept`, and what a kill left half written.

        Returns the names of those deleted.
        """
        names = set(kept)
        ours = (SUFFIX, trainer_file.SUFFIX, ".partial")
        gone = [p for p in self.folder.iterdir() if p.name.endswith(ours) and p.name not in names]
        for path in gone:
            path.unlink(missing_ok=True)
        return [path.name for path in gone]

    def _open(self, version: Version) -> DeltaFile:
        assert version.file is not None
        path = self.folder / version.file
        require_sound(path, version.sha256)
        return DeltaFile(path, self.model_hash)
