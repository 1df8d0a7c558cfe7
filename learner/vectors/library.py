"""The vectors of one state folder: `vectors/NAME.safetensors`, bound to one base model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from learner.vectors.algebra import Combination
from learner.vectors.blocks import Block, Deltas, Shape, blocks
from learner.vectors.expression import Term, parse_expression, require_name
from learner.vectors.file import Description, VectorFile, write_vector
from policies.errors import InputError

FOLDER = "vectors"

Watch = Callable[[Iterable[Block], dict[str, Shape], str], Iterable[Block]]
"""Passes on the blocks of new tensors of these shapes, while somebody watches how far `what` is."""


class Library:
    """Finds, reads and adds vectors by name; `watch` sees the blocks of new ones pass."""

    def __init__(self, home: Path, model_hash: str, watch: Watch = lambda changes, *_: changes) -> None:
        self.folder = home / FOLDER
        self.model_hash = model_hash
        self._watch = watch

    def names(self) -> list[str]:
        """Return the names of all vectors, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    def open(self, name: str) -> VectorFile:
        """Open a vector. Raises InputError for an unknown name, a damaged file, or another base model."""
        path = self._path(name)
        if not path.exists():
            known = ", ".join(self.names()) or "none yet"
            raise InputError(f"no vector {name!r} (there are: {known}; `vectors extract` makes one)")
        return VectorFile(path).require_base(self.model_hash)

    def add(
        self,
        name: str,
        shapes: dict[str, Shape],
        changes: Iterable[Block],
        *,
        recipe: str,
        from_version: str | None = None,
        to_version: str | None = None,
    ) -> Description:
        """Write a new vector. Raises InputError where the name is taken, or nothing differs."""
        path = self.require_free(name)
        if not shapes:
            raise InputError(f"{recipe}: nothing differs, so there is no vector to keep")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return write_vector(
            path,
            shapes,
            self._watch(changes, shapes, f"writing {name}"),
            model_hash=self.model_hash,
            recipe=recipe,
            from_version=from_version,
            to_version=to_version,
        )

    def keep(self, name: str, deltas: Deltas, recipe: str) -> Description:
        """Write what an operation on vectors gives as a new vector."""
        return self.add(name, deltas.shapes, blocks(deltas), recipe=recipe)

    def combine(self, expression: str) -> Combination:
        """Return the sum that an expression means. Raises InputError for bad syntax or unknown names."""
        return self.sum(parse_expression(expression))

    def sum(self, terms: Iterable[Term]) -> Combination:
        """Return the sum of terms. Raises InputError for an unknown name."""
        return Combination(tuple((term.factor, self.open(term.name)) for term in terms))

    def remove(self, name: str) -> None:
        """Delete a vector's file."""
        self.open(name).path.unlink()

    def require_free(self, name: str) -> Path:
        """Return where a new vector goes. Raises InputError for a bad name, or one that is taken."""
        path = self._path(name)
        if path.exists():
            raise InputError(
                f"there is a vector {name!r} already; choose another name, or `vectors delete` it"
            )
        return path

    def _path(self, name: str) -> Path:
        return self.folder / f"{require_name(name)}.safetensors"
