"""Live weights are private: whoever can write the arena decides what the server says. No torch here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from policies.errors import ConfigError


def require_private(path: Path) -> None:
    """See that only this user can open a folder or file of an arena.

    Raises ConfigError when it is a link, another user's, or open to others; FileNotFoundError.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError(f"{path}: is a link; live weights lie in a folder of their own (`server.arena`)")
    if found.st_uid != os.getuid():
        raise ConfigError(
            f"{path}: belongs to user {found.st_uid}, not to you ({os.getuid()}); choose another "
            "`server.arena`"
        )
    if found.st_mode & 0o077:
        private = "0700" if stat.S_ISDIR(found.st_mode) else "0600"
        raise ConfigError(
            f"{path}: others can open it (mode {stat.S_IMODE(found.st_mode):04o}); `chmod {private[1:]} "
            f"{path}`, or choose another `server.arena`"
        )
