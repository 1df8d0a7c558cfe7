"""Memory: the SQLite file. `open_store` is the way in for your own scripts (docs/python.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.database import Store

__all__ = ["open_store"]


def open_store(home: Path | str | None = None) -> Store:
    """Open a history to read it; absent: that of HEEDLOOP_HOME or the configuration. `with` closes it.

    It may be in use: the connection is read-only and sees what is committed. Raises ConfigError where there
    is none. Not to be mistaken for `store.database.open_store`, by which the system itself opens it to write,
    and makes it where there is none.
    """
    from store.database import open_read_only
    from store.home import home_of
    from store.settings import load_config

    return open_read_only(home_of(load_config()) if home is None else Path(home).expanduser())
