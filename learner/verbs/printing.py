"""What the learner's verbs print beside JSON and tables: what was found, and talk."""

from __future__ import annotations

import sys
from typing import Any

from store.printing import print_json, print_table


def show(title: str, found: dict[str, Any], *, json: bool) -> None:
    """Print what a verb did or found: one JSON object, or a table of its parts."""
    if json:
        print_json(found)
    else:
        print_table(title, ("what", "value"), list(_flat(found).items()))


def say(line: str) -> None:
    """Tell a person something, on stderr."""
    sys.stderr.write(line + "\n")


def _flat(found: dict[str, Any]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in found.items():
        nested = value.items() if isinstance(value, dict) else None
        flat |= {f"{name}: {key}": part for key, part in nested} if nested is not None else {name: value}
    return flat
