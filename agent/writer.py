"""The one thread of this process that uses the store.

Transactions are short, but one may wait for another process's write lock, and labelling takes milliseconds:
on the event loop that would hold up the bus and HTTP. One thread keeps the order of arrival.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from store.database import Store, open_store

log = structlog.get_logger(__name__)

RETRY_S = 1.0
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)

P = ParamSpec("P")
T = TypeVar("T")


class Writer:
    """An open store on a thread of its own. Use `await Writer.open(home)`, and close it."""

    def __init__(self, store: Store, thread: ThreadPoolExecutor) -> None:
        self.store = store
        self._thread = thread

    @classmethod
    async def open(cls, home: Path) -> Writer:
        """Open the store under `home`. Raises ConfigError where that cannot be."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            store = await asyncio.get_running_loop().run_in_executor(thread, open_store, home)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(store, thread)

    async def run(self, work: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work(store, ...)` on the thread, after all work that was asked for earlier.

        A store that is locked or a disk that is full is waited for, however long: the work is done again from
        its beginning, for its transaction was rolled back. What comes in meanwhile waits where it came from.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._thread, lambda: work(self.store, *args, **kwargs))
            except sqlite3.OperationalError as error:
                if not _passes(error):
                    raise
                log.warning("the store takes nothing now, trying again", why=str(error), in_s=RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Finish what was asked for, then close the store."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.store.close)
        self._thread.shutdown()


def _passes(error: sqlite3.OperationalError) -> bool:
    """Say whether it is the machine's trouble of the moment, and no mistake of ours."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING  # the low byte: the primary code
