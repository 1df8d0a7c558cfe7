"""Choose the rows of a batch: a quarter general replay, exactly; the rest corrections and twins, 2 to 1.

A share of the corrections are reminders: learned in earlier rounds, and not to be forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from policies.errors import GuardRefused

ROWS_PER_GENERAL = 4
"""One row in four is general: 25 % by example."""

RowKind = Literal["correction", "reminder", "twin", "general"]


@dataclass(frozen=True)
class Candidate:
    """An example that may be used: how often it was, and how often it is to be (`quota`)."""

    id: str
    uses: int = 0
    quota: int = 0
    has_twin: bool = False
    twin_uses: int = 0

    @property
    def waits(self) -> bool:
        """Say whether it has uses left."""
        return self.uses < self.quota


@dataclass(frozen=True)
class BatchRow:
    """One row of a batch. A twin carries the id of the correction whose twin it is."""

    kind: RowKind
    example_id: str


def compose(
    corrections: Sequence[Candidate],
    general: Sequence[Candidate],
    size: int,
    rng: random.Random,
    earlier: Sequence[Candidate] = (),
    reminder_share: float = 0.0,
) -> tuple[BatchRow, ...]:
    """Return `size` rows (a multiple of 4): size/4 general, size/4 twins, the rest corrections.

    The least used wait first, chance decides among equals, so all get their uses in turn. A missing twin is
    made up by a correction; missing corrections by those already done, then by repetition. Empty when no
    correction waits. Each place of a correction goes, with the chance `reminder_share`, to one of `earlier`,
    the least reminded of; their `uses` are reminders. Raises GuardRefused without any general example: no
    batch goes without replay.
    """
    if size <= 0 or size % ROWS_PER_GENERAL:
        raise ValueError(f"a batch of {size} rows has no exact quarter: use a multiple of {ROWS_PER_GENERAL}")
    if not any(candidate.waits for candidate in corrections):
        return ()
    if not general:
        raise GuardRefused("no general example to replay: nothing is trained until the general pool is made")
    share = size // ROWS_PER_GENERAL
    reminded = _reminders(earlier, 2 * share, reminder_share, rng)
    order = _in_turn(corrections, rng)
    chosen = _fill(order, 2 * share - len(reminded))
    twins = _twins(chosen, order, share, rng)
    unused = [candidate for candidate in order if candidate not in chosen]
    chosen += _fill(unused + order, share - len(twins))
    replay = _fill(sorted(_shuffled(general, rng), key=lambda c: c.uses), share)
    return (
        *(BatchRow("correction", c.id) for c in chosen),
        *(BatchRow("reminder", c.id) for c in reminded),
        *(BatchRow("twin", c.id) for c in twins),
        *(BatchRow("general", c.id) for c in replay),
    )


def replay_share(rows: Sequence[BatchRow]) -> float:
    """Return the share of general rows, measured on the batch itself."""
    return sum(row.kind == "general" for row in rows) / len(rows) if rows else 0.0


def _reminders(
    earlier: Sequence[Candidate], places: int, share: float, rng: random.Random
) -> list[Candidate]:
    """Draw how many of the places are reminders, one at least staying for what is new."""
    if not earlier or not share:
        return []
    count = min(places - 1, len(earlier), sum(rng.random() < share for _ in range(places)))
    return sorted(_shuffled(earlier, rng), key=lambda c: c.uses)[:count]


def _twins(
    chosen: Sequence[Candidate], order: Sequence[Candidate], count: int, rng: random.Random
) -> list[Candidate]:
    """Prefer the twins of the corrections in the batch (least used first), then of any other."""
    own = [c for c in dict.fromkeys(chosen) if c.has_twin]
    rest = [c for c in order if c.has_twin and c not in own]
    ranked = [sorted(_shuffled(part, rng), key=lambda c: c.twin_uses) for part in (own, rest)]
    return (ranked[0] + ranked[1])[:count]


def _in_turn(candidates: Sequence[Candidate], rng: random.Random) -> list[Candidate]:
    return sorted(_shuffled(candidates, rng), key=lambda c: (not c.waits, c.uses))


def _fill(order: Sequence[Candidate], count: int) -> list[Candidate]:
    return [order[place % len(order)] for place in range(count)]


def _shuffled(candidates: Sequence[Candidate], rng: random.Random) -> list[Candidate]:
    """Shuffle from an order of its own: the same seed chooses the same, whatever order rows come in."""
    ordered = sorted(candidates, key=lambda c: c.id)
    rng.shuffle(ordered)
    return ordered
