"""The state folder (HEEDLOOP_HOME): where each thing lies in it. Mode 0700, for it holds conversations."""

from __future__ import annotations

import os
from pathlib import Path

from policies.config import Config
from policies.errors import ConfigError

VERSIONS = "versions"
LOGS = "logs"
ANSWERS = "answers"


def home_of(config: Config) -> Path:
    """Return the absolute state folder: `home` of the configuration, else $XDG_STATE_HOME/heedloop."""
    if config.home is not None:
        return config.home.expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser().absolute() / "heedloop"


def make_home(home: Path) -> Path:
    """Create the state folder and its rooms where they are missing; nobody else may read them.

    Raises ConfigError when the folder cannot be made or does not let us write.
    """
    try:
        for folder in (home, home / VERSIONS, home / LOGS, home / ANSWERS):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot use {home} as the state folder: {error.strerror} (set HEEDLOOP_HOME to another one)"
        ) from error
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to the state folder {home} (set HEEDLOOP_HOME to another one)")
    return home
