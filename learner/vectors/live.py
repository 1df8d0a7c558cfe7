"""Task vectors on the live weights: each addition, removal or checkout is a version that can be undone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from learner.archive import Archive
from learner.arguments import Handler, number_of, text_of
from learner.lineage import Lineage
from learner.live.client import LiveWeights
from learner.rounds import Rounds
from learner.vectors.application import added, require_shape, without
from learner.vectors.blocks import Deltas
from learner.vectors.expression import parse_expression, require_name, require_scale
from learner.vectors.file import VectorFile
from learner.vectors.library import Library
from policies.errors import GuardRefused, InputError
from store import applications, branches, versions
from store.applications import Application
from store.database import Store
from store.versions import Version


class LiveVectors:
    """Carries out `vectors apply | remove | checkout | revert`. What is refused changes nothing."""

    def __init__(
        self,
        store: Store,
        archive: Archive,
        live: LiveWeights,
        lineage: Lineage,
        rounds: Rounds,
        library: Library,
    ) -> None:
        self._store, self._archive, self._live, self._lineage = store, archive, live, lineage
        self._rounds, self._library = rounds, library

    def handlers(self) -> dict[str, Handler]:
        """Return what carries out each command of this room, given its arguments."""
        return {
            "apply_vector": lambda args: (
                self.compose(text_of(args, "expression"))
                if "expression" in args
                else self.apply(text_of(args, "name"), number_of(args, "scale", 1.0))
            ),
            "remove_vector": lambda args: self.remove(text_of(args, "name")),
            "check_out": lambda args: self.check_out(text_of(args, "to"), bool(args.get("create"))),
            "revert": lambda args: self.revert(text_of(args, "version")),
        }

    def apply(self, name: str, scale: float) -> dict[str, Any]:
        """Add a vector times `scale`. Raises InputError for an unknown name, wrong base or shape."""
        vector, scale = self._library.open(name), require_scale(scale)
        self._require_live(vector)
        began = time.monotonic()
        done = Application(version_id="", vector=name, vector_id=vector.description.id, scale=scale)
        version = self._write(f"vector {name} * {scale:g}", vector, done)
        return {
            "vector": name,
            "scale": scale,
            "version": version.id,
            "parent": version.parent,
            "tensors": len(vector.shapes),
            "ms": round((time.monotonic() - began) * 1000, 1),
        }

    def compose(self, expression: str) -> dict[str, Any]:
        """Add each vector of an expression times its factor: one version each, to be removed one by one."""
        terms = parse_expression(expression)
        for term in terms:
            self._require_live(self._library.open(term.name))
            require_scale(term.factor)
        return {"applied": [self.apply(term.name, term.factor) for term in terms]}

    def remove(self, name: str) -> dict[str, Any]:
        """Take a vector out again: the same bytes if nothing was written since, else by subtraction.

        Raises GuardRefused where it is not in the weights, InputError where the file is another by now.
        """
        inside = applications.in_weights(self._store, self._lineage.version)
        found = next((a for a in inside if a.vector == require_name(name)), None)
        if found is None:
            known = ", ".join(a.vector for a in inside) or "none"
            raise GuardRefused(f"vector {name!r} is not in the live weights (in them: {known})")
        if found.version_id == self._lineage.version.id and not self._lineage.unsaved():
            return self._undo_newest(f"removed vector {name}") | {"vector": name}
        undo = found.model_copy(update={"scale": -found.scale, "undoes": found.version_id})
        note = f"removed vector {name} by subtraction"
        try:
            version = self._subtract(versions.require(self._store, found.version_id), note, undo)
        except GuardRefused:  # a version was retired, or is damaged: the vector's own file says it, too
            version = self._write(note, self._same_file(found), undo)
        return {"vector": name} | self._subtracted(version)

    def check_out(self, name: str, create: bool = False) -> dict[str, Any]:
        """Make a branch, or a version, the live weights; a new branch of `create` starts at the base.

        Raises GuardRefused for a name that is neither.
        """
        branch = branches.get(self._store, name)
        if branch is None and create:
            require_name(name)
            target = self._base()
        else:
            target = versions.require(self._store, name if branch is None else branch.version_id)
        self._save()
        here = branches.current(self._store)
        if branch is not None and name == here:
            return {"branch": here, "version": self._lineage.version.id, "bit_for_bit": True}
        moves_to = name if branch is not None or create else here
        before = self._lineage.version

        def record(connection: sqlite3.Connection) -> None:
            branches.settle(connection, here, before)
            if moves_to != here:
                branches.put(connection, moves_to, target.id)
                branches.switch(connection, moves_to)

        done = self._lineage.check_out(target, f"checkout of {name}", record)
        return {"branch": moves_to, "version": done.version.id, "bit_for_bit": done.bit_for_bit}

    def revert(self, wanted: str) -> dict[str, Any]:
        """Take out what one version changed. Raises GuardRefused for the base, or where files are gone."""
        version = versions.require(self._store, wanted)
        parent = None if version.parent is None else versions.get(self._store, version.parent)
        if parent is None:
            raise GuardRefused(f"{version.id} is the base: there is nothing before it to go back to")
        if version.id == self._lineage.version.id and not self._lineage.unsaved():
            return self._undo_newest(f"reverted {version.id}")
        done = self._subtract(version, f"reverted {version.id} by subtraction")
        return self._subtracted(done)

    def _subtracted(self, version: Version) -> dict[str, Any]:
        """Say what a subtraction gave; the bytes may still be those of a version on its path."""
        same = any(v.fingerprint == version.fingerprint for v in versions.path(self._store, version)[1:])
        return {"version": version.id, "bit_for_bit": same, "by": "subtraction"}

    def _undo_newest(self, reason: str) -> dict[str, Any]:
        """Go back from the version in force, to which nothing was added, to its parent."""
        parent = versions.require(self._store, str(self._lineage.version.parent))
        self._lineage.require_restorable(parent)
        done = self._lineage.roll_back(parent, reason)
        return {"version": done.version.id, "bit_for_bit": done.bit_for_bit, "by": "restoring the bytes"}

    def _write(self, note: str, deltas: Deltas, done: Application) -> Version:
        """Add a vector to the live weights, as a version that `done` tells of."""
        self._save()
        live = self._lineage.live_tensors(deltas.shapes)
        values = added(live, deltas, done.scale, f"{done.vector_id}/{self._lineage.version.id}")
        return self._lineage.apply("vector", note, values, _recorder(done))

    def _subtract(self, version: Version, note: str, done: Application | None = None) -> Version:
        """Take out of the live weights what one version changed. Raises Damaged where its files are gone."""
        parent = versions.require(self._store, str(version.parent))
        for one in (version, parent):
            self._lineage.require_restorable(one)
        self._save()
        wanted = self._archive.changed(version) | self._archive.changed(parent)
        names = [name for name, _ in self._archive.base(wanted)]
        values = without(
            self._lineage.live_tensors(names),
            self._archive.tensors(version, wanted),
            self._archive.tensors(parent, wanted),
        )
        return self._lineage.apply("vector", note, values, None if done is None else _recorder(done))

    def _same_file(self, found: Application) -> VectorFile:
        vector = self._library.open(found.vector)
        if vector.description.id != found.vector_id:
            raise InputError(
                f"vector {found.vector!r} was made anew since version {found.version_id} added the old one,"
                " and the files of that version are gone: it cannot be subtracted"
            )
        return vector

    def _save(self) -> None:
        """Give steps that no version has yet one of their own: a vector is never mixed into it."""
        if self._lineage.unsaved():
            self._rounds.check()

    def _base(self) -> Version:
        return versions.path(self._store, self._lineage.version)[-1]

    def _require_live(self, vector: VectorFile) -> None:
        """Raises InputError where the server has no such tensor, or one of another shape."""
        for name in vector.shapes:
            if name not in self._live.names:
                raise InputError(f"vector {vector.description.name}: the server has no tensor {name}")
            require_shape(vector, name, self._live.shape(name))


def _recorder(done: Application) -> Callable[[sqlite3.Connection, Version], None]:
    def record(connection: sqlite3.Connection, version: Version) -> None:
        applications.add(connection, done.model_copy(update={"version_id": version.id}))

    return record
