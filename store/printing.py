"""Printing, for the verbs of both rooms: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

_NARROWEST = 20
"""Characters that a column keeps; where there is no room for them, each row stands in lines of its own."""
_UNPRINTABLE = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)
}
"""Control characters of what agents wrote: a terminal would obey them."""


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; nothing but its title and a dash when it has no rows.

    Where its columns would get too narrow to be read, each row is a block of lines: column, value.
    """
    console = Console()
    cells = [[printable(_cell(value)) for value in row] for row in rows]
    if not cells:
        console.print(Text(f"{title}: -"), highlight=False)
    elif _narrowest(columns, cells, console.width) >= _NARROWEST:
        console.print(_table(title, columns, cells), highlight=False)
    else:
        console.print(_blocks(title, columns, cells), highlight=False)


def printable(text: str) -> Text:
    """Return text as it is, with nothing in it that a terminal or rich's markup would act on."""
    return Text(text.translate(_UNPRINTABLE), overflow="fold")


def moment(milliseconds: int | None) -> str:
    """Return a UTC time of the store as text."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _narrowest(columns: Sequence[str], cells: Sequence[Sequence[Text]], width: int) -> int:
    """Return what is left for the widest columns of a table once the others have all that they need."""
    natural = sorted(
        max(
            cell_len(line)
            for text in (name, *(row[place].plain for row in cells))
            for line in text.split("\n")
        )
        for place, name in enumerate(columns)
    )
    room = width - 2 * len(natural) - 1
    for place, need in enumerate(natural):
        if need * (len(natural) - place) > room:
            return room // (len(natural) - place)
        room -= need
    return width


def _table(title: str, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> RenderableType:
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, header_style="bold", collapse_padding=True
    )
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in cells:
        table.add_row(*row)
    return Group(_heading(title), table, "")


def _blocks(title: str, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for place, row in enumerate(cells):
        if place:
            grid.add_row()
        for name, text in zip(columns, row, strict=True):
            grid.add_row(Text(f"  {name}"), text)
    return Group(_heading(title), grid, "")


def _heading(title: str) -> Text:
    return Text(title, style="italic")
