"""Task vectors on the live weights: each addition, removal or checkout is a version that can be undone."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from learner.archive import Archive
from learner.arguments import Handler, Order, number_of, text_of
from learner.lineage import Lineage, Record
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
            "apply_vector": self.apply,
            "remove_vector": self.remove,
            "check_out": self.check_out,
            "revert": self.revert,
        }

    def apply(self, order: Order) -> dict[str, Any]:
        """Add a vector times a scale, or each of an expression: one version each, to be removed one by one.

        Raises InputError for an unknown name, wrong base or shape. What a kill broke off goes on.
        """
        if "expression" in order.args:
            terms = [(term.name, term.factor) for term in parse_expression(text_of(order.args, "expression"))]
        else:
            terms = [(text_of(order.args, "name"), number_of(order.args, "scale", 1.0))]
        for name, scale in terms:
            self._require_live(self._library.open(name))
            require_scale(scale)
        parts = list(order.before.parts)
        for name, scale in terms[len(parts) :]:
            parts.append(self._add(name, scale, order, parts, last=len(parts) + 1 == len(terms)))
        return _answer(order, parts)

    def _add(
        self, name: str, scale: float, order: Order, before: list[dict[str, Any]], *, last: bool
    ) -> dict[str, Any]:
        """Add one vector; the order knows of it in the same transaction."""
        vector = self._library.open(name)
        began = time.monotonic()

        def told(version: Version) -> dict[str, Any]:
            return {
                "vector": name,
                "scale": scale,
                "version": version.id,
                "parent": version.parent,
                "tensors": len(vector.shapes),
                "ms": round((time.monotonic() - began) * 1000, 1),
            }

        def record(connection: sqlite3.Connection, version: Version) -> None:
            applications.add(connection, done.model_copy(update={"version_id": version.id}))
            parts = [*before, told(version)]
            if last:
                order.applied(connection, _answer(order, parts))
            else:
                order.part_done(connection, parts)

        done = Application(version_id="", vector=name, vector_id=vector.description.id, scale=scale)
        return told(self._write(f"vector {name} * {scale:g}", vector, done, record))

    def remove(self, order: Order) -> dict[str, Any]:
        """Take a vector out again: the same bytes if nothing was written since, else by subtraction.

        Raises GuardRefused where it is not in the weights, InputError where the file is another by now.
        """
        name = text_of(order.args, "name")
        inside = applications.in_weights(self._store, self._lineage.version)
        found = next((a for a in inside if a.vector == require_name(name)), None)
        if found is None:
            known = ", ".join(a.vector for a in inside) or "none"
            raise GuardRefused(f"vector {name!r} is not in the live weights (in them: {known})")
        if found.version_id == self._lineage.version.id and not self._lineage.unsaved():
            return self._undo_newest(f"removed vector {name}", order, {"vector": name})
        undo = found.model_copy(update={"scale": -found.scale, "undoes": found.version_id})
        note = f"removed vector {name} by subtraction"

        def record(connection: sqlite3.Connection, version: Version) -> None:
            applications.add(connection, undo.model_copy(update={"version_id": version.id}))
            order.applied(connection, {"vector": name} | self._subtracted(version))

        try:
            version = self._subtract(versions.require(self._store, found.version_id), note, record)
        except GuardRefused:  # a version was retired, or is damaged: the vector's own file says it, too
            version = self._write(note, self._same_file(found), undo, record)
        return {"vector": name} | self._subtracted(version)

    def check_out(self, order: Order) -> dict[str, Any]:
        """Make a branch, or a version, the live weights; a new branch of `create` starts at the base.

        Raises GuardRefused for a name that is neither.
        """
        name, create = text_of(order.args, "to"), bool(order.args.get("create"))
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

        def record(connection: sqlite3.Connection, version: Version) -> None:
            order.applied(connection, {"branch": moves_to, "version": version.id})
            branches.settle(connection, here, before)
            if moves_to != here:
                branches.put(connection, moves_to, target.id)
                branches.switch(connection, moves_to)

        done = self._lineage.check_out(target, f"checkout of {name}", record)
        return {"branch": moves_to, "version": done.version.id, "bit_for_bit": done.bit_for_bit}

    def revert(self, order: Order) -> dict[str, Any]:
        """Take out what one version changed. Raises GuardRefused for the base, or where files are gone."""
        version = versions.require(self._store, text_of(order.args, "version"))
        parent = None if version.parent is None else versions.get(self._store, version.parent)
        if parent is None:
            raise GuardRefused(f"{version.id} is the base: there is nothing before it to go back to")
        if version.id == self._lineage.version.id and not self._lineage.unsaved():
            return self._undo_newest(f"reverted {version.id}", order, {})

        def record(connection: sqlite3.Connection, made: Version) -> None:
            order.applied(connection, self._subtracted(made))

        return self._subtracted(self._subtract(version, f"reverted {version.id} by subtraction", record))

    def _subtracted(self, version: Version) -> dict[str, Any]:
        """Say what a subtraction gave; the bytes may still be those of a version on its path."""
        same = any(v.fingerprint == version.fingerprint for v in versions.path(self._store, version)[1:])
        return {"version": version.id, "bit_for_bit": same, "by": "subtraction"}

    def _undo_newest(self, reason: str, order: Order, said: dict[str, Any]) -> dict[str, Any]:
        """Go back from the version in force, to which nothing was added, to its parent."""
        parent = versions.require(self._store, str(self._lineage.version.parent))
        self._lineage.require_restorable(parent)
        said = said | {"by": "restoring the bytes"}

        def record(connection: sqlite3.Connection, version: Version, _: int) -> None:
            order.applied(connection, said | {"version": version.id})

        done = self._lineage.roll_back(parent, reason, record)
        return said | {"version": done.version.id, "bit_for_bit": done.bit_for_bit}

    def _write(self, note: str, deltas: Deltas, done: Application, record: Record) -> Version:
        """Add a vector to the live weights, as a version that `done` tells of and `record` writes down."""
        self._save()
        live = self._lineage.live_tensors(deltas.shapes)
        values = added(live, deltas, done.scale, f"{done.vector_id}/{self._lineage.version.id}")
        return self._lineage.apply("vector", note, values, record)

    def _subtract(self, version: Version, note: str, record: Record) -> Version:
        """Take out of the live weights what one version changed. Raises GuardRefused where files are gone."""
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
        return self._lineage.apply("vector", note, values, record)

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


def _answer(order: Order, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what an order to add is answered: of an expression all its parts."""
    return {"applied": parts} if "expression" in order.args else parts[0]
