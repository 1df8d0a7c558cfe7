"""Files that are whole or not there at all, for their owner alone, and the fingerprint by which damage
shows.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from policies.errors import GuardRefused, InputError


class Damaged(GuardRefused):
    """A file of a version is missing, cut off or changed; the text names it."""


def publish(partial: Path, path: Path) -> None:
    """Rename into place, readable by the owner only, with bytes and name on disk before it returns."""
    partial.chmod(0o600)
    _sync(partial, os.O_RDONLY)
    os.replace(partial, path)
    _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def keep_private(folder: Path) -> None:
    """Let nobody but the owner into a folder of weights and its files, as in the state folder.

    Raises InputError where it is another user's.
    """
    try:
        folder.chmod(0o700)
        for path in folder.iterdir():
            path.chmod(0o600)
    except PermissionError as error:
        raise InputError(f"{folder}: belongs to another user; give a new folder") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_sound(path: Path, sha256: str | None) -> None:
    """Raise Damaged where the file is not there or is another than was written; None knows no fingerprint."""
    try:
        if sha256 is None:
            path.stat()
        elif sha256_of(path) != sha256:
            raise Damaged(f"version file {path.name} is damaged: its sha256 is not the recorded one")
    except OSError as error:
        raise Damaged(f"version file {path.name} cannot be read: {error.strerror or error}") from error


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
