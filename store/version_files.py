"""Do the files of the versions agree with their rows? Part of `run.py doctor --store`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from store.damage import Damage, damage
from store.database import Store

_BACK = "start `run.py up`: a damaged version in force gives way to its nearest sound ancestor"
_POINTER = "live.json"
_NAMED = (("file", "sha256"), ("trainer", "trainer_sha256"))


class _File(NamedTuple):
    version: str
    name: str
    sha256: str | None


def examine_files(store: Store, folder: Path) -> Iterator[Damage]:
    """Yield what is wrong with the files in `versions/`."""
    rows = store.rows("SELECT * FROM versions ORDER BY rowid")
    good = [row for row in rows if row["state"] == "good"]
    files = [_File(row["id"], row[n], row[h]) for row in good for n, h in _NAMED if row[n] is not None]
    missing = [one for one in files if not (folder / one.name).is_file()]
    yield from damage("version without its file", "gap", _shown(missing), _BACK)
    broken = [one for one in files if one not in missing and not _sound(folder, one)]
    yield from damage("version whose file is damaged", "damage", _shown(broken), _BACK)
    known = {one.name for one in files}
    strays = sorted(path.name for path in folder.glob("*") if path.name not in {*known, _POINTER})
    yield from damage("version file that no version names", "orphan", strays, _stray(folder))
    if rows:
        yield from _pointer(folder, rows[-1]["id"])


def _shown(files: list[_File]) -> list[object]:
    return [f"{one.version} ({one.name})" for one in files]


def _stray(folder: Path) -> str:
    return f"remove it from {folder}, or start `run.py up`: the learner sweeps"


def _sound(folder: Path, named: _File) -> bool:
    """Compare a file with the hash in its row."""
    with (folder / named.name).open("rb") as file:
        return named.sha256 is None or hashlib.file_digest(file, "sha256").hexdigest() == named.sha256


def _pointer(folder: Path, in_force: str) -> Iterator[Damage]:
    try:
        named = json.loads((folder / _POINTER).read_text()).get("version")
    except (OSError, ValueError, AttributeError):
        named = "nothing that can be read"
    if named != in_force:
        advice = "start `run.py up`: the learner writes it anew"
        yield Damage("live.json names another version than the store", "gap", 1, (str(named),), advice)
