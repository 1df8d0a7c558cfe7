"""What is wrong with a store, one line each: what, where, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Kind = Literal["gap", "double", "orphan", "open", "damage", "told"]
"""gap: something should be there; double: it is there twice; orphan: nothing belongs to it; open: a crash
left it undecided; damage: bytes are not what they were; told: a loss that is on record already."""

_SHOWN = 3


class Damage(NamedTuple):
    """`number` things of one kind are wrong; `ids` names some of them."""

    name: str
    kind: Kind
    number: int
    ids: tuple[str, ...]
    advice: str

    @property
    def detail(self) -> str:
        """Return how many and which."""
        named = ", ".join(self.ids)
        return f"{self.number}: {named}" + (" ..." if self.number > len(self.ids) else "")


def damage(name: str, kind: Kind, ids: Sequence[object], advice: str) -> list[Damage]:
    """Return one line for some things, none for none."""
    shown = tuple(str(one) for one in ids[:_SHOWN])
    return [Damage(name, kind, len(ids), shown, advice)] if ids else []
