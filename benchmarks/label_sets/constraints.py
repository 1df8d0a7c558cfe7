"""Constraint labels on IFEval: agreement with the exact verdicts, and what is read from the prompts alone.

The rows are split by chance: the reader's patterns were made while looking at three quarters of them.
`held_out` are the figures of the last quarter.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.language import detect_language, likeliest_language
from policies.constraints import Constraint, Detect, constraint_from_instruction, read_constraints
from policies.constraints.counting import Range

_SET = Path("A") / "ifeval"
_PROMPTS, _LABELS = _SET / "input_data.jsonl", _SET / "gpt4_strict_labels.jsonl"
_SEED = 5
_Z = 1.96  # 95 %

Demand = tuple[str, tuple[tuple[str, str], ...]]
"""A constraint as (kind, arguments), each side of a range on its own: what must be equal to count as read."""

_ENGLISH: Demand = ("language", (("code", "en"),))


@dataclass(frozen=True)
class Row:
    """A prompt, its instructions, and the verdicts on one model's answer where they are known."""

    key: int
    prompt: str
    instructions: tuple[tuple[str, Mapping[str, Any]], ...]
    response: str | None = None
    verdicts: tuple[bool | None, ...] = ()


def measure(data: Path) -> dict[str, Any]:
    """Return `agreement`, `text_precision` and `text_recall` with n and 95 % intervals (Wilson)."""
    absent = [str(path) for path in (_PROMPTS, _LABELS) if not (data / path).is_file()]
    if absent:
        return {"absent": absent}
    rows = read_rows(data)
    tuned = tuned_keys(rows)
    held_out = [row for row in rows if row.key not in tuned]
    return {
        **_agreement(rows),
        **_reading(rows),
        "held_out": {"rows": len(held_out), **_agreement(held_out), **_reading(held_out)},
    }


def read_rows(data: Path) -> list[Row]:
    """Read the prompts, and the labels of those that have them."""
    labels = {row["key"]: row for row in _objects(data / _LABELS)}
    rows = []
    for row in _objects(data / _PROMPTS):
        given = ({k: v for k, v in kwargs.items() if v is not None} for kwargs in row["kwargs"])
        label = labels.get(row["key"], {})
        rows.append(
            Row(
                key=row["key"],
                prompt=row["prompt"],
                instructions=tuple(zip(row["instruction_id_list"], given, strict=True)),
                response=label.get("response"),
                verdicts=tuple(label.get("follow_instruction_list", ())),
            )
        )
    return rows


def tuned_keys(rows: Iterable[Row]) -> frozenset[int]:
    """Return the keys of the three quarters that were looked at."""
    keys = sorted(row.key for row in rows)
    random.Random(_SEED).shuffle(keys)
    return frozenset(keys[: 3 * len(keys) // 4])


def demands(constraints: Iterable[Constraint]) -> frozenset[Demand]:
    """Return what constraints demand, in a form in which two wordings of one demand are equal."""
    return frozenset(demand for constraint in constraints for demand in _halves(constraint))


def expected(row: Row, detect: Detect | None) -> list[Constraint]:
    """Return the constraints of a prompt's instructions."""
    made = (constraint_from_instruction(name, arguments, detect) for name, arguments in row.instructions)
    return [constraint for constraint in made if constraint is not None]


def rate(name: str, right: int, n: int) -> dict[str, Any]:
    """Return a share with its n and its 95 % interval (Wilson's score)."""
    if n == 0:
        return {name: None, f"{name}_n": 0, f"{name}_interval": None}
    share = right / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (share * (1 - share) / n + _Z**2 / (4 * n**2)) ** 0.5
    interval = [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]
    return {name: round(share, 4), f"{name}_n": n, f"{name}_interval": interval}


def _agreement(rows: Iterable[Row]) -> dict[str, Any]:
    """Compare each verdict; one that we do not give disagrees."""
    right = n = 0
    for row in rows:
        for (name, arguments), verdict in zip(row.instructions, row.verdicts, strict=False):
            constraint = constraint_from_instruction(name, arguments, likeliest_language)
            if verdict is None or row.response is None:
                continue
            n += 1
            right += constraint is not None and constraint.check(row.response) is verdict
    return rate("agreement", right, n)


def _reading(rows: Iterable[Row]) -> dict[str, Any]:
    """Compare what is read from the prompts with the demands of their instructions."""
    right = read = wanted = 0
    for row in rows:
        want = demands(expected(row, detect_language))
        # "In English and in capital letters" is one instruction that makes two demands.
        spoken = any(name.startswith("change_case:english") for name, _ in row.instructions)
        found = demands(read_constraints(row.prompt, detect_language).constraints)
        found -= {_ENGLISH} if spoken else set()
        right += len(want & found)
        read += len(found)
        wanted += len(want)
    return {**rate("text_precision", right, read), **rate("text_recall", right, wanted)}


def _halves(constraint: Constraint) -> Iterator[Demand]:
    arguments = {name: _plain(value) for name, value in constraint.arguments.items()}
    if not isinstance(constraint, Range):
        yield constraint.kind, tuple(sorted(arguments.items()))
        return
    for side in ("minimum", "maximum"):
        if getattr(constraint, side) is not None:
            kept = {k: v for k, v in arguments.items() if k in {side, "word", "letter"}}
            yield constraint.kind, tuple(sorted(kept.items()))


def _plain(value: object) -> str:
    """Write an argument so that case, order and outer marks do not count."""
    if isinstance(value, tuple):
        return repr(sorted(_plain(part) for part in value))
    return " ".join(str(value).casefold().split()).strip("\"' .")


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())
