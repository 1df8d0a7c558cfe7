"""Memory: the SQLite file. `open_store` is the way in for your own scripts (docs/python.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.database import Store

__all__ = ["open_store"]


@contextmanager
def open_store(home: Path | str | None = None) -> Iterator[Store]:
    """Open a history to read it; absent: that of HEEDLOOP_HOME or the configuration.

    It may be in use: the connection is read-only and sees what is committed. Raises ConfigError where there
    is none. What writes opens `store.database.open_store`.
    """
    from store.database import open_read_only
    from store.home import home_of
    from store.settings import load_config

    store = open_read_only(home_of(load_config()) if home is None else Path(home).expanduser())
    try:
        yield store
    finally:
        store.close()
