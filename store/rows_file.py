"""A file of JSON lines that is whole or not there, and never takes the place of another unasked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from policies.errors import InputError

STDOUT = Path("-")


def require_free(path: Path, *, force: bool) -> None:
    """Raises InputError where rows cannot go to `path`: something is there, or its folder is not."""
    if path == STDOUT:
        return
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'its folder is not there'}")
    if path.exists() and not force:
        raise InputError(f"{path} is there already: name another file, or add --force")


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines, readable by the owner only; `-` is stdout. Returns how many.

    Where there is no row, no file is made.
    """
    if path == STDOUT:
        return sum(sys.stdout.write(_line(row)) > 0 for row in rows)
    partial, count = path.with_name(f".{path.name}.partial"), 0
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(_line(row))
                count += 1
        if count:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
