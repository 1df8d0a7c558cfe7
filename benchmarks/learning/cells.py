"""What is taught in a cell, the recipes it is taught with, and the results that are there already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.experiments.directions import FIVE, JSON_KEY, LOWERCASE, Direction

TAUGHT: dict[str, tuple[Direction, ...]] = {
    "json_key": (JSON_KEY,),
    "lowercase": (LOWERCASE,),
    "five_directions": FIVE,
}
COUNTS = {"json_key": (1, 3, 10, 30), "lowercase": (3, 10, 30), "five_directions": (10, 30)}
BASELINES = ("adamw", "full_rank", "likelihood_only", "no_replay", "no_rehearsal", "correction_in_prompt")
OBJECTIVES = ("preference", "unpaired", "distillation", "stripping")
"""Beside the default, which is the recipe of heedloop."""
RATES = {"rate_5e-5": 5e-5, "rate_1e-4": 1e-4, "rate_4e-4": 4e-4, "rate_8e-4": 8e-4}
"""The trade-off between following and forgetting: heedloop at other learning rates than its 2e-4."""
_QUICK = (("json_key", 1), ("json_key", 3), ("json_key", 10), ("lowercase", 10), ("five_directions", 30))
_COMPARED = (("lowercase", 10), ("five_directions", 30))
_BY_RECIPE = ("lowercase", 10)


@dataclass(frozen=True)
class Cell:
    """So many corrections of one set of directions, one recipe, one seed."""

    taught: str
    corrections: int
    seed: int
    recipe: str = "heedloop"

    @property
    def name(self) -> str:
        """Return what the cell is called in the file of results."""
        return f"{self.recipe}/{self.taught}/{self.corrections}/{self.seed}"


def cells_of(seeds: Sequence[int], *, quick: bool, baselines: bool) -> list[Cell]:
    """Return the cells of a run, all of one seed before the next; what it is compared with comes last."""
    wanted = _QUICK if quick else [(taught, n) for taught, counts in COUNTS.items() for n in counts]
    own = [Cell(taught, count, seed) for seed in seeds for taught, count in wanted]
    others = [
        Cell(taught, n, seed, recipe) for seed in seeds for taught, n in _COMPARED for recipe in BASELINES
    ]
    taught, count = _BY_RECIPE
    others += [Cell(taught, count, seed, recipe) for seed in seeds for recipe in (*OBJECTIVES, *RATES)]
    return own + (others if baselines else [])


class Results:
    """One JSON line a cell; a run that was broken off goes on behind the last whole one.

    Only cells of the same model and settings (`of`) are known: a file may hold those of others, too.
    """

    def __init__(self, path: Path, of: str) -> None:
        self._path, self._of = path, of
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [row for line in lines if (row := _row(line)) is not None]
        self.known: dict[str, dict[str, Any]] = {row["cell"]: row for row in rows if row.get("of") == of}

    def add(self, cell: Cell, found: dict[str, Any]) -> None:
        """Keep the result of a cell; on disk when it returns."""
        row = {"cell": cell.name, "of": self._of, **found}
        self.known[cell.name] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write("\n" * _is_torn(self._path) + json.dumps(row) + "\n")

    def of(self, taught: str, corrections: int, recipe: str = "heedloop") -> list[dict[str, Any]]:
        """Return the results of all seeds."""
        start = f"{recipe}/{taught}/{corrections}/"
        return [row for name, row in self.known.items() if name.startswith(start)]


def _row(line: str) -> dict[str, Any] | None:
    """Return what a line says; None where a run was killed while it wrote it."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "cell" in row else None


def _is_torn(path: Path) -> bool:
    return path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
