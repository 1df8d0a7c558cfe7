"""The lineage of the live weights: durable versions, going back to one, and finding one's way after a crash.

Rows first, bytes second. A version or a rollback is written to the store, then to the arena: whoever is
killed in between finds at the next start that the arena's position or bytes are not the store's, and writes
the version in force again. Where bytes must come first, a mark in the store says that they are being written.
What follows from a version (the answer to a command, an alert) is written in its transaction, by `record`.

A version holds the trainer's state, too. After a kill the learner goes back to the version in force, to its
moments and remainders, and takes the steps since once more: they become what they would have been.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from torch import Tensor

from learner.archive import Archive
from learner.live.client import LiveWeights
from learner.trainer import Trainer
from learner.versioning.delta_file import Stored
from learner.versioning.files import Damaged
from learner.versioning.retire import retire
from policies.config import GuardConfig
from policies.errors import ConfigError, GuardRefused
from policies.messages import RollbackEvent, VersionEvent
from store import branches, examples, outbox, state, steps, versions
from store.clock import now_ms, rfc3339
from store.database import Store
from store.versions import Version, VersionKind

log = structlog.get_logger()

BASE_POSITION = "base"
_WRITING = "writing_version"
"""Named in the store while bytes are written that no row tells of yet."""
_UNTOLD = "untold_rollback"
"""Named in the store until the bytes of a rollback are written: its event tells whether they are exact."""

Record = Callable[[sqlite3.Connection, Version], None]
"""Writes what belongs to a version, in the transaction of its row."""
RecordRollback = Callable[[sqlite3.Connection, Version, int], None]
"""The same for a rollback, which has quarantined so many corrections."""


@dataclass(frozen=True)
class Rollback:
    """What a rollback did. `bit_for_bit`: the live bytes have the fingerprint recorded for the version."""

    version: Version
    quarantined: int
    bit_for_bit: bool


class Lineage:
    """Keeps store, archive and arena in agreement about which version is live."""

    def __init__(
        self, store: Store, archive: Archive, live: LiveWeights, trainer: Trainer, rules: GuardConfig
    ) -> None:
        self._store, self._archive, self._live, self._trainer = store, archive, live, trainer
        self._rules = rules
        self._names = list(trainer.parameters)

    @property
    def version(self) -> Version:
        """Return the durable version in force."""
        version = versions.in_force(self._store)
        assert version is not None, "settle() makes the first version"
        return version

    def unsaved(self) -> int:
        """Return how many confirmed steps the version in force does not have."""
        return steps.confirmed_after(self._store, self.version.last_step or 0)

    def settle(self) -> int:
        """Bring arena and trainer to the version in force, after a start of learner or server.

        Steps that it does not have are marked `redo`. Returns how many examples will be trained on again.
        """
        version = versions.in_force(self._store) or self._found()
        undone, exact = 0, True
        if not self._holds(version):
            version = self._restorable(version)
            undone = self._redo_after(version)
            exact = self._write_back(version)
            log.warning("live weights put back to the last durable version", version=version.id, redo=undone)
        self._tell_of_rollback(exact)
        self._trainer.reload(self._live.read)
        self._resume(version)
        self._point(version)
        known = versions.every(self._store)
        self._archive.sweep(name for v in known if v.state == "good" for name in (v.file, v.trainer))
        return undone

    def accept(self, note: str = "") -> Version:
        """Make the weights as they are now the new durable version. The row is written by the caller."""
        parent = self.version
        version = versions.new_version(
            parent,
            "train",
            first_step=steps.first_after(self._store, parent.last_step or 0),
            last_step=steps.last_confirmed(self._store),
            file=None,
            fingerprint=self._live.fingerprint(),
            note=note,
        )
        version = _with_file(version, self._save(version, self._live.read, self._names))
        saved = self._archive.save_trainer(version.id, self._trainer.state(copy=False), self._live.read)
        return version.model_copy(
            update={
                "trainer": saved.file,
                "trainer_sha256": saved.sha256,
                "trainer_bytes": saved.bytes,
                "save_ms": (version.save_ms or 0) + saved.save_ms,
                "moments": "kept",
            }
        )

    def enter(self, version: Version) -> None:
        """Make an accepted version (its row is written) the one that a restarted server begins with."""
        self._point(version)
        self._live.mark(version.id, version.last_step or 0)
        retire(self._store, self._archive, self._rules)

    def apply(
        self,
        kind: VersionKind,
        note: str,
        tensors: Iterable[tuple[str, Tensor]],
        record: Record | None = None,
    ) -> Version:
        """Write values of named tensors into the live weights, one after the other: a new version in force.

        Values are whole, not differences; what is not named stays. Training goes on with fresh moments.
        `record` writes what belongs to the version in the transaction of its row.
        Raises GuardRefused while steps are not in any version, for they have not been probed. When `tensors`
        raises, the version in force is put back.
        """
        parent = self.version
        if self.unsaved():
            raise GuardRefused(f"{self.unsaved()} steps have not been probed yet: try again after the probe")
        with self._store.write() as connection:
            state.put(connection, _WRITING, note)
        try:
            with self._live.publishing(parent.id, parent.last_step or 0):
                written = [self._written(name, value) for name, value in tensors]
        except BaseException:
            self.settle()
            raise
        version = versions.new_version(
            parent,
            kind,
            first_step=None,
            last_step=parent.last_step,
            file=None,
            fingerprint=self._live.fingerprint(),
            note=note,
        )
        names = {*self._names, *self._archive.changed(parent), *written}
        version = _with_file(version, self._save(version, self._live.read, names))
        self._enter_applied(version, record)
        return version

    def annotate(self, kind: VersionKind, note: str, record: Record) -> Version:
        """Make a new version of the very bytes in force; what is new about it, `record` writes down.

        Raises GuardRefused while steps are not in any version.
        """
        if self.unsaved():
            raise GuardRefused(f"{self.unsaved()} steps have not been probed yet: try again after the probe")
        parent = self.version
        version = _again(parent, kind, parent.last_step, note)
        with self._store.write() as connection:
            versions.add(connection, version)
            record(connection, version)
            outbox.put(connection, version_event(version))
        self.enter(version)
        return version

    def check_out(self, target: Version, note: str, record: Record) -> Rollback:
        """Make the bytes of another version live: the head of its branch, or any. Nothing is quarantined.

        `record` writes what must be there before the version's row, in one transaction with it.
        What was trained elsewhere stays trained there: its examples are not taken again here. Raises
        GuardRefused while steps are not in any version, or where the bytes of `target` are gone.
        """
        if self.unsaved():
            raise GuardRefused(f"{self.unsaved()} steps have not been probed yet: try again after the probe")
        self.require_restorable(target)
        version = _again(target, "vector", steps.last_confirmed(self._store), note)
        with self._store.write() as connection:
            record(connection, version)
            versions.add(connection, version)
            outbox.put(connection, version_event(version))
        exact = self._write_back(version)
        self._point(version)
        self._trainer.reload(self._live.read)
        self._resume(version)
        log.info("checked out", version=target.id, bit_for_bit=exact)
        return Rollback(version, 0, exact)

    def live_tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield copies of live tensors as they are now."""
        return ((name, self._live.read(name)) for name in names)

    def roll_back(self, target: Version, reason: str, record: RecordRollback | None = None) -> Rollback:
        """Put the live weights back to `target`, and quarantine every correction trained on that it has not.

        The trainer goes on from the state that it had there, where that is still stored. Where the file of
        `target` is damaged, its nearest sound ancestor is taken, the alert says so, and the steps in between
        are taken again. `record` writes what follows from the rollback in the transaction of its row.
        """
        version = _again(target, "rollback", target.last_step, reason)
        with self._store.write() as connection:
            undone = steps.take_over(connection, self._steps_of(target) + self._steps_elsewhere())
            quarantined = examples.quarantine(connection, undone, reason)
            versions.add(connection, version)
            untold = {"to_version": target.id, "reason": reason, "quarantined": quarantined}
            state.put(connection, _UNTOLD, untold)
            if record is not None:
                record(connection, version, quarantined)
        version = self._restorable(version)
        exact = self._write_back(version)
        self._tell_of_rollback(exact)
        self._point(version)
        self._trainer.reload(self._live.read)
        self._resume(version)
        for example_id in undone:
            self._trainer.forget(example_id)
        return Rollback(version, quarantined, exact)

    def rollback_target(self) -> Version:
        """Return where a rollback without a named version goes: to before the last thing learned."""
        version = self.version
        if self.unsaved():
            return version
        while version.kind == "rollback" and version.parent is not None:
            version = versions.get(self._store, version.parent) or version
        parent = None if version.parent is None else versions.get(self._store, version.parent)
        if parent is None:
            raise GuardRefused("nothing to roll back: the live weights are the base model's")
        return parent

    def holds_exactly(self, version_id: str) -> bool:
        """Tell whether the live bytes are those recorded for a version."""
        return self._live.fingerprint() == versions.require(self._store, version_id).fingerprint

    def require_restorable(self, target: Version) -> None:
        """Raise GuardRefused, saying why, where a version's bytes are not there any more."""
        if target.state == "dropped":
            raise GuardRefused(
                f"version {target.id} was retired: its file is gone; choose another (see `versions list`)"
            )
        self._archive.require_sound(target)

    def _found(self) -> Version:
        """Write the first version of this store: the base model, as the server loaded it."""
        position = self._live.position()
        if position.version != BASE_POSITION:
            raise GuardRefused(
                f"the server holds version {position.version} of another store: start it fresh, or use the"
                " HEEDLOOP_HOME that it was trained from"
            )
        version = versions.new_version(
            None, "base", first_step=None, last_step=None, file=None, fingerprint=self._live.fingerprint()
        )
        with self._store.write() as connection:
            versions.add(connection, version)
        self._live.mark(version.id, 0)
        return version

    def _holds(self, version: Version) -> bool:
        """Tell whether the arena holds a version, and nothing after it or half."""
        position = self._live.position()
        if (position.version, position.step) != (version.id, version.last_step or 0):
            return False
        half = steps.unfinished(self._store) or state.get(self._store, _WRITING) is not None
        if half or self.unsaved():
            return False
        if self._live.fingerprint() != version.fingerprint:
            self._alert(
                f"live weights are marked as version {version.id}, but are not its bytes: written anew"
            )
            return False
        if not self._archive.is_sound(version):
            self._save_again(version)
        return True

    def _save_again(self, version: Version) -> None:
        """Write the damaged file of the live version anew."""
        names = sorted({*self._names, *self._live.names})
        stored = self._save(version, self._live.read, names)
        with self._store.write() as connection:
            versions.replace_file(connection, str(version.file), stored.file, stored.sha256)
        self._alert(f"version file {version.file} was damaged; written anew from the live weights")

    def _restorable(self, version: Version) -> Version:
        """Return a version whose bytes are there: the one given, or a new one with those of a sound ancestor.

        The steps in between will be taken again.
        """
        if self._archive.is_sound(version):
            return version
        assert version.file is not None, "only a file is ever damaged"
        ancestors = versions.path(self._store, version)[1:]
        usable = (v for v in ancestors if v.file != version.file and v.state == "good")
        target = next(v for v in usable if self._archive.is_sound(v))  # the base always is
        message = f"version file {version.file} is damaged: went back to version {target.id}"
        back = _again(target, "rollback", target.last_step, message)
        with self._store.write() as connection:
            versions.mark_damaged(connection, version.file)
            steps.undo_after(connection, target.last_step or 0, "redo")
            versions.add(connection, back)
        self._alert(message)
        return back

    def _steps_elsewhere(self) -> list[tuple[int, int]]:
        """Return the steps that are in the branches which are not checked out."""
        here = branches.current(self._store)
        heads = [b.version_id for b in branches.every_branch(self._store) if b.name != here]
        found = [versions.get(self._store, head) for head in heads]
        return [span for version in found if version is not None for span in self._steps_of(version)]

    def _steps_of(self, version: Version) -> list[tuple[int, int]]:
        """Return the steps that are in a version: first and last of each train version on its path."""
        trained = [v for v in versions.path(self._store, version) if v.kind == "train"]
        return [(v.first_step, v.last_step) for v in trained if v.first_step and v.last_step]

    def _redo_after(self, version: Version) -> int:
        with self._store.write() as connection:
            return len(steps.undo_after(connection, version.last_step or 0, "redo"))

    def _write_back(self, version: Version) -> bool:
        """Write a version's bytes into the arena. Returns whether the fingerprint is the recorded one.

        Where it is not, bytes have changed that no version has changed: then all tensors are written.
        """
        exact = self._written_back(version, self._ever_changed())
        if not exact:
            exact = self._written_back(version, set(self._live.names))
        with self._store.write() as connection:
            state.put(connection, _WRITING, None)
        if not exact:
            self._alert(f"live weights differ from the recorded bytes of version {version.id}")
        return exact

    def _written_back(self, version: Version, names: set[str]) -> bool:
        with self._live.publishing(version.id, version.last_step or 0):
            for name, tensor in self._archive.tensors(version, names):
                self._live.write(name, tensor)
        return self._live.fingerprint() == version.fingerprint

    def _ever_changed(self) -> set[str]:
        """Return the tensors that may not be the base's: those that learn, and those that any version has."""
        if state.get(self._store, _WRITING) is not None:
            return set(self._live.names)  # which of them were reached, nobody knows
        known = {v.file: v for v in versions.every(self._store) if v.state == "good" and v.file is not None}
        found = set(self._names)
        for version in known.values():
            try:
                found |= self._archive.changed(version)
            except Damaged:
                return set(self._live.names)
        return found

    def _resume(self, version: Version) -> None:
        """Give the trainer the state that it had at a version; without one, it begins with fresh moments."""
        if version.trainer is None:
            return
        try:
            self._trainer.restore(self._archive.trainer(version, self._live.read))
        except (Damaged, ConfigError) as error:
            with self._store.write() as connection:
                versions.begin_fresh(connection, version.id)
            self._alert(f"training goes on with fresh moments: {error}")
            return
        log.info("trainer restored", version=version.id)

    def _point(self, version: Version) -> None:
        self._archive.point(versions.path(self._store, version))

    def _save(self, version: Version, read: Callable[[str], Tensor], names: Iterable[str]) -> Stored:
        return self._archive.save(version.id, read, names)

    def _written(self, name: str, value: Tensor) -> str:
        self._live.write(name, value)
        return name

    def _enter_applied(self, version: Version, record: Record | None) -> None:
        with self._store.write() as connection:
            versions.add(connection, version)
            if record is not None:
                record(connection, version)
            outbox.put(connection, version_event(version))
            state.put(connection, _WRITING, None)
        self.enter(version)
        self._trainer.reload(self._live.read)
        log.info("applied", kind=version.kind, version=version.id, tensors=version.file)

    def _tell_of_rollback(self, exact: bool) -> None:
        """Put the event of a rollback whose bytes are written, unless none is left to tell of."""
        untold = state.get(self._store, _UNTOLD)
        if untold is None:
            return
        event = RollbackEvent(ts=rfc3339(now_ms()), bit_for_bit=exact, **untold)
        with self._store.write() as connection:
            outbox.put(connection, event)
            state.put(connection, _UNTOLD, None)
        log.warning("rolled back", bit_for_bit=exact, **untold)

    def _alert(self, message: str) -> None:
        log.error(message)
        with self._store.write() as connection:
            outbox.alert(connection, message)


def version_event(version: Version) -> VersionEvent:
    """Return the bus event that tells of a new version."""
    return VersionEvent(ts=rfc3339(now_ms()), version=version.id, parent=version.parent, kind=version.kind)


def _with_file(version: Version, stored: Stored) -> Version:
    kept: Mapping[str, Any] = {k: v for k, v in asdict(stored).items() if k in Version.model_fields}
    return version.model_copy(update=kept)


def _again(target: Version, kind: VersionKind, last_step: int | None, note: str) -> Version:
    """Return a new version with the bytes, and the trainer's state, of `target`, its parent."""
    version = versions.new_version(
        target,
        kind,
        first_step=None,
        last_step=last_step,
        file=target.file,
        fingerprint=target.fingerprint,
        note=note,
    )
    shared = ("file", "sha256", "bytes", "full_bytes", "trainer", "trainer_sha256", "trainer_bytes")
    kept = {name: getattr(target, name) for name in shared}
    return version.model_copy(update=kept | {"moments": "fresh" if target.trainer is None else "restored"})
