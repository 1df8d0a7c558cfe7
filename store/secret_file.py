"""A secret of a state folder: generated once, and kept in a file that only its owner reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def secret_in(path: Path) -> str:
    """Return the secret in a file; it is made on first use."""
    if not path.exists():
        write_once(path, f"{secrets.token_urlsafe(32)}\n")
    return path.read_text().strip()


def write_once(path: Path, text: str) -> None:
    """Create the file whole and for the owner alone; where another process was first, its file stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
