"""What is generated once for a state folder and kept in files of mode 0600: passwords and a token."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from store.secret_file import secret_in, write_once

Role = Literal["heedloop", "agent"]
"""Who speaks on the embedded broker: heedloop and its owner, or agents, which give no commands."""
OWNER: Role = "heedloop"
AGENT: Role = "agent"
_CREDENTIALS: dict[Role, str] = {OWNER: "broker.json", AGENT: "broker.agent.json"}
_PASSWORDS = "broker.passwords"
_TOKEN = "http.token"


def broker_url(home: Path, port: int, user: Role = OWNER) -> str:
    """Return the URL with which a role reaches the embedded broker; credentials are made on first use."""
    return f"mqtt://{user}:{quote(_password(home, user), safe='')}@127.0.0.1:{port}"


def _password(home: Path, user: Role) -> str:
    path = home / _CREDENTIALS[user]
    if not path.exists():
        fresh = {"user": user, "password": secrets.token_urlsafe(24)}
        write_once(path, json.dumps(fresh))
    return str(json.loads(path.read_text())["password"])


def password_file(home: Path) -> Path:
    """Write the file of user names and argon2 hashes that the broker reads. Returns its path."""
    from pwdlib import PasswordHash  # only the broker needs it
    from pwdlib.hashers.argon2 import Argon2Hasher

    path = home / _PASSWORDS
    hasher = PasswordHash((Argon2Hasher(),))
    lines = [f"{user}:{hasher.hash(_password(home, user))}\n" for user in _CREDENTIALS]
    path.unlink(missing_ok=True)
    write_once(path, "".join(lines))
    return path


def http_token(home: Path) -> str:
    """Return the token that HTTP requests which change something must bear."""
    return secret_in(home / _TOKEN)
