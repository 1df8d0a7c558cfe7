"""Change one setting in the user's configuration file; comments and everything else stay as they are."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from policies.errors import ConfigError
from store.settings import DEFAULT, FILE_NAME, PREFIX, load_config, origins


def place_of(key: str) -> Path:
    """Return the file in which `set_number` sets `section.name`, without a change.

    Raises ConfigError where an environment variable would win, or where the file cannot be changed safely.
    """
    place = origins(load_config())[key]
    if place.startswith(PREFIX):
        raise ConfigError(f"{key} is set by the environment variable {place}, which wins: change it there")
    path = Path(FILE_NAME) if place == DEFAULT else Path(place)
    with _told(path, key):
        _changed(path, key, 0.0)
        tempfile.TemporaryFile(dir=path.resolve().parent).close()
    return path


def set_number(key: str, value: float) -> Path:
    """Set `section.name` where it is set now; else in ./heedloop.toml, which is made. Returns the file.

    Raises ConfigError where an environment variable would win, or where the file cannot be changed safely.
    """
    path = place_of(key)
    with _told(path, key):
        _replace(path.resolve(), _changed(path, key, value))
    return path


@contextmanager
def _told(path: Path, key: str) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot write {path.resolve()}: {error.strerror}; {key} is unchanged") from None


def _changed(path: Path, key: str, value: float) -> str:
    new = edited(path.read_text(encoding="utf-8") if path.exists() else "", key, value)
    if new is None:
        raise ConfigError(f"{path} cannot be changed safely: set {key} in it yourself")
    return new


def edited(text: str, key: str, value: float) -> str | None:
    """Return TOML with `section.name` set; None where that would change anything else, or is not found."""
    section, _, name = key.rpartition(".")
    old: dict[str, Any] = tomllib.loads(text)
    wanted = old | {section: old.get(section, {}) | {name: value}} if _is_table(old, section) else None
    for found in _attempts(text, section, name, _number(value)):
        try:
            if tomllib.loads(found) == wanted:
                return found
        except tomllib.TOMLDecodeError:
            continue
    return None


def _is_table(values: dict[str, Any], section: str) -> bool:
    return isinstance(values.get(section, {}), dict)


def _attempts(text: str, section: str, name: str, number: str) -> list[str]:
    """Return the ways to write it, best first: over the old value, as a line of the section, as a section."""
    value = r"(\s*=\s*)[^\s#,}]+"
    over = [
        rf"(?m)^(\s*{name}){value}",
        rf"(?m)^(\s*{section}\s*\.\s*{name}){value}",
        rf"(?m)^(\s*{section}\s*=\s*\{{[^}}]*?\b{name}){value}",
    ]
    found = []
    for pattern in over:
        for match in re.finditer(pattern, text):
            found.append(text[: match.start()] + match[1] + match[2] + number + text[match.end() :])
    for match in re.finditer(rf"(?m)^\s*\[\s*{section}\s*\][^\n]*(\n|\Z)", text):
        end = "" if match[1] else "\n"
        found.append(f"{text[: match.end()]}{end}{name} = {number}\n{text[match.end() :]}")
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return [*found, f"{text}{gap}[{section}]\n{name} = {number}\n"]


def _number(value: float) -> str:
    return json.dumps(value)


def _replace(path: Path, text: str) -> None:
    """Put the text in place at once; the file keeps its mode."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial, path.stat().st_mode & 0o777 if path.exists() else 0o600)
        os.replace(partial, path)
    except OSError:
        os.unlink(partial)
        raise
