"""What token sequences share: a forest of runs, each branching off another one, laid out in one packed pass.

Ten decision points of one conversation have ten contexts, each the beginning of the next: one run and ten
places on it. Contexts that part midway share what stands before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_WORTH = 16
"""A shorter common beginning is not shared: a branch costs recurrent layers a kernel call of their own."""
_FAR = 1 << 40

Place = tuple[int | None, int]
"""A run, and how many tokens there are from the beginning to there; (None, 0) is before any run."""


@dataclass(frozen=True)
class Run:
    """Token ids that follow one another. The first has position `start`, and follows `parent` there."""

    ids: tuple[int, ...]
    parent: int | None = None
    start: int = 0

    @property
    def end(self) -> int:
        """Return the position after the last token."""
        return self.start + len(self.ids)


@dataclass(frozen=True)
class Forest:
    """Runs, parents before children, and the place where each of the given sequences ends."""

    runs: tuple[Run, ...]
    places: tuple[Place, ...]


def plant(sequences: Sequence[Sequence[int]]) -> Forest:
    """Lay sequences of token ids over one another; an empty one ends before any run."""
    runs: list[Run] = []
    lines: list[tuple[int, ...]] = []
    found: dict[tuple[int, ...], Place] = {(): (None, 0)}
    for ids in sorted({tuple(s) for s in sequences}, key=lambda ids: (-len(ids), ids)):
        if not ids:
            continue
        shared, nearest = max(((_common(ids, line), -i) for i, line in enumerate(lines)), default=(0, 0))
        parent = _run_at(runs, -nearest, shared) if shared >= min(_WORTH, len(ids)) else None
        if parent is not None and shared == len(ids):
            found[ids] = (parent, shared)
            continue
        start = 0 if parent is None else shared
        found[ids] = (len(runs), len(ids))
        runs.append(Run(ids[start:], parent, start))
        lines.append(ids)
    return Forest(tuple(runs), tuple(found[tuple(s)] for s in sequences))


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return the length of the common beginning."""
    longest = min(len(one), len(other))
    if one[:longest] == other[:longest]:
        return longest
    return next(i for i in range(longest) if one[i] != other[i])


def _run_at(runs: Sequence[Run], index: int, position: int) -> int:
    """Return the run, on the line from a root to `index`, that has the token before `position`."""
    while runs[index].start >= position:
        parent = runs[index].parent
        assert parent is not None, "a root starts at 0"
        index = parent
    return index


def roots(runs: Sequence[Run]) -> list[int]:
    """Return the root of each run."""
    found: list[int] = []
    for index, run in enumerate(runs):
        found.append(index if run.parent is None else found[run.parent])
    return found


def line(runs: Sequence[Run], index: int) -> Iterator[tuple[int, int]]:
    """Yield the runs that a token of `index` can see, and the position where it stops seeing each."""
    stop = _FAR
    at: int | None = index
    while at is not None:
        yield at, stop
        stop, at = runs[at].start, runs[at].parent


def positions(runs: Sequence[Run], indices: Sequence[int]) -> Tensor:
    """Return the position of each token of the packed runs."""
    return torch.cat([torch.arange(runs[i].start, runs[i].end) for i in indices])


def visible(runs: Sequence[Run], queries: Sequence[int], keys: Sequence[int], window: int | None) -> Tensor:
    """Return the mask of a packed pass, bool [query tokens, key tokens]: who sees whom.

    A token sees the tokens of its line up to itself; of these only the last `window`, if that is given.
    """
    stops = torch.zeros(len(queries), len(keys), dtype=torch.long)
    column = {run: k for k, run in enumerate(keys)}
    for q, index in enumerate(queries):
        for run, stop in line(runs, index):
            stops[q, column[run]] = stop
    lengths = [torch.tensor([len(runs[i].ids) for i in indices]) for indices in (queries, keys)]
    at, seen = positions(runs, queries)[:, None], positions(runs, keys)[None]
    stops = stops.repeat_interleave(lengths[0], 0).repeat_interleave(lengths[1], 1)
    mask = (seen < stops) & (seen <= at)
    return mask if window is None else mask & (at - seen < window)
