"""Printing: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; nothing but its title and a dash when it has no rows."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console().print(table if table.row_count else f"{title}: -", highlight=False)


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


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
