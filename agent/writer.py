"""The one thread of this process that uses the store.

Transactions are short, but one may wait for another process's write lock, and labelling takes milliseconds:
on the event loop that would hold up the bus and HTTP. One thread keeps the order of arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from store.database import Store, open_store

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
        """Do `work(store, ...)` on the thread, after all work that was asked for earlier."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(self.store, *args, **kwargs))

    async def close(self) -> None:
        """Finish what was asked for, then close the store."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.store.close)
        self._thread.shutdown()
