"""The generated user and password of the embedded broker: files of mode 0600 under the state folder."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from urllib.parse import quote

_USER = "heedloop"
_CREDENTIALS = "broker.json"
_PASSWORDS = "broker.passwords"


def broker_url(home: Path, port: int) -> str:
    """Return the URL with which clients reach the embedded broker; credentials are made on first use."""
    return f"mqtt://{_USER}:{quote(_password(home), safe='')}@127.0.0.1:{port}"


def _password(home: Path) -> str:
    path = home / _CREDENTIALS
    if not path.exists():
        fresh = {"user": _USER, "password": secrets.token_urlsafe(24)}
        _write_once(path, json.dumps(fresh))
    return str(json.loads(path.read_text())["password"])


def password_file(home: Path) -> Path:
    """Write the file of user names and argon2 hashes that the broker reads. Returns its path."""
    from pwdlib import PasswordHash  # only the broker needs it
    from pwdlib.hashers.argon2 import Argon2Hasher

    path = home / _PASSWORDS
    hashed = PasswordHash((Argon2Hasher(),)).hash(_password(home))
    path.unlink(missing_ok=True)
    _write_once(path, f"{_USER}:{hashed}\n")
    return path


def _write_once(path: Path, text: str) -> None:
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
