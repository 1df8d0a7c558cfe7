"""What is generated once for a state folder and kept in files of mode 0600: passwords, a token, a key."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Literal
from urllib.parse import quote

Role = Literal["heedloop", "agent"]
"""Who speaks on the embedded broker: heedloop and its owner, or agents, which give no commands."""
OWNER: Role = "heedloop"
AGENT: Role = "agent"
_CREDENTIALS: dict[Role, str] = {OWNER: "broker.json", AGENT: "broker.agent.json"}
_PASSWORDS = "broker.passwords"
_TOKEN = "http.token"
_REDACTION = "redaction.key"


def broker_url(home: Path, port: int, user: Role = OWNER) -> str:
    """Return the URL with which a role reaches the embedded broker; credentials are made on first use."""
    return f"mqtt://{user}:{quote(_password(home, user), safe='')}@127.0.0.1:{port}"


def _password(home: Path, user: Role) -> str:
    path = home / _CREDENTIALS[user]
    if not path.exists():
        fresh = {"user": user, "password": secrets.token_urlsafe(24)}
        _write_once(path, json.dumps(fresh))
    return str(json.loads(path.read_text())["password"])


def password_file(home: Path) -> Path:
    """Write the file of user names and argon2 hashes that the broker reads. Returns its path."""
    from pwdlib import PasswordHash  # only the broker needs it
    from pwdlib.hashers.argon2 import Argon2Hasher

    path = home / _PASSWORDS
    hasher = PasswordHash((Argon2Hasher(),))
    lines = [f"{user}:{hasher.hash(_password(home, user))}\n" for user in _CREDENTIALS]
    path.unlink(missing_ok=True)
    _write_once(path, "".join(lines))
    return path


def http_token(home: Path) -> str:
    """Return the token that HTTP requests which change something must bear."""
    return _secret(home / _TOKEN)


def redaction_key(home: Path) -> bytes:
    """Return the key of the hashes that stand in the place of secrets."""
    return _secret(home / _REDACTION).encode()


def _secret(path: Path) -> str:
    if not path.exists():
        _write_once(path, f"{secrets.token_urlsafe(32)}\n")
    return path.read_text().strip()


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
