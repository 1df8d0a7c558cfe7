"""The lineage of the live weights: durable versions, going back to one, and finding one's way after a crash.

Rows first, bytes second. A version or a rollback is written to the store, then to the arena: whoever is
killed in between finds at the next start that the arena's position is not the store's, and writes the
version in force again.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from learner.archive import Archive
from learner.live.client import LiveWeights
from learner.trainer import Trainer
from policies.errors import GuardRefused
from policies.messages import AlertEvent, RollbackEvent, VersionEvent
from store import examples, outbox, steps, versions
from store.clock import now_ms, rfc3339
from store.database import Store
from store.versions import Version

log = structlog.get_logger()

BASE_POSITION = "base"


@dataclass(frozen=True)
class Rollback:
    """What a rollback did. `bit_for_bit`: the live bytes have the fingerprint recorded for the version."""

    version: Version
    quarantined: int
    bit_for_bit: bool


class Lineage:
    """Keeps store, archive and arena in agreement about which version is live."""

    def __init__(
        self, store: Store, archive: Archive, live: LiveWeights, trainer: Trainer, keep_versions: int
    ) -> None:
        self._store, self._archive, self._live, self._trainer = store, archive, live, trainer
        self._keep = keep_versions
        self._names = list(trainer.parameters)

    @property
    def version(self) -> Version:
        """Return the durable version in force."""
        version = versions.in_force(self._store)
        assert version is not None, "settle() makes the first version"
        return version

    def settle(self) -> int:
        """Bring the arena to what the store says, after a start of learner or server.

        Steps that the arena does not have, or may have half, are marked `redo`. Returns how many
        examples will be trained on again for it.
        """
        version = versions.in_force(self._store) or self._found()
        position = self._live.position()
        expected = (version.id, steps.last_confirmed(self._store))
        undone = 0
        if (position.version, position.step) != expected or steps.unfinished(self._store):
            undone = self._redo_after(version)
            self._write_back(version)
            log.warning("live weights put back to the last durable version", version=version.id, redo=undone)
        self._trainer.reload(self._live.read)
        return undone

    def accept(self, note: str = "") -> Version:
        """Make the weights as they are now the new durable version. The row is written by the caller."""
        parent = self.version
        first, last = (parent.last_step or 0) + 1, steps.last_confirmed(self._store)
        version = versions.new_version(
            parent,
            "train",
            first_step=first,
            last_step=last,
            file=None,
            fingerprint=self._live.fingerprint(),
            note=note,
        )
        file = self._archive.save(version.id, self._live.read, self._names)
        return version.model_copy(update={"file": file})

    def enter(self, version: Version) -> None:
        """Make an accepted version (its row is written) the one that a restarted server begins with."""
        step = version.last_step or 0
        self._archive.point(version, step)
        self._live.mark(version.id, step)
        self._retire()

    def roll_back(self, target: Version, reason: str) -> Rollback:
        """Put the live weights back to `target` and quarantine every correction trained on since."""
        version = versions.new_version(
            target,
            "rollback",
            first_step=None,
            last_step=target.last_step,
            file=target.file,
            fingerprint=target.fingerprint,
            note=reason,
        )
        with self._store.write() as connection:
            undone = steps.undo_after(connection, target.last_step or 0, "rolled_back")
            quarantined = examples.quarantine(connection, undone)
            versions.add(connection, version)
        exact = self._write_back(version)
        self._archive.point(version, version.last_step or 0)
        self._trainer.reload(self._live.read)
        for example_id in undone:
            self._trainer.forget(example_id)
        with self._store.write() as connection:
            outbox.put(
                connection,
                RollbackEvent(
                    ts=rfc3339(now_ms()),
                    to_version=target.id,
                    reason=reason,
                    quarantined=quarantined,
                    bit_for_bit=exact,
                ),
            )
        log.warning("rolled back", to=target.id, reason=reason, quarantined=quarantined, bit_for_bit=exact)
        return Rollback(version, quarantined, exact)

    def rollback_target(self) -> Version:
        """Return where a rollback without a named version goes: to before the last thing learned."""
        version = self.version
        if steps.last_confirmed(self._store) > (version.last_step or 0):
            return version
        while version.kind == "rollback" and version.parent is not None:
            version = versions.get(self._store, version.parent) or version
        parent = None if version.parent is None else versions.get(self._store, version.parent)
        if parent is None:
            raise GuardRefused("nothing to roll back: the live weights are the base model's")
        return parent

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
        self._archive.point(version, 0)
        self._live.mark(version.id, 0)
        return version

    def _redo_after(self, version: Version) -> int:
        with self._store.write() as connection:
            return len(steps.undo_after(connection, version.last_step or 0, "redo"))

    def _write_back(self, version: Version) -> bool:
        """Write a version's bytes into the arena. Returns whether the fingerprint is the recorded one."""
        with self._live.publishing(version.id, version.last_step or 0):
            for name, tensor in self._archive.tensors(version, self._names):
                self._live.write(name, tensor)
        exact = self._live.fingerprint() == version.fingerprint
        if not exact:
            message = f"live weights differ from the recorded bytes of version {version.id}"
            log.error(message)
            with self._store.write() as connection:
                outbox.put(connection, AlertEvent(ts=rfc3339(now_ms()), message=message))
        return exact

    def _retire(self) -> None:
        """Remove the files of old versions; the newest ones and what they share stay."""
        good = [v for v in versions.every(self._store) if v.state == "good" and v.file is not None]
        kept = {v.file for v in good[-self._keep :]} | {self.version.file}
        for version in good[: -self._keep]:
            if version.file not in kept:
                with self._store.write() as connection:
                    versions.retire(connection, version.id)
                self._archive.remove(version)


def version_event(version: Version) -> VersionEvent:
    """Return the bus event that tells of a new version."""
    return VersionEvent(ts=rfc3339(now_ms()), version=version.id, parent=version.parent, kind=version.kind)
