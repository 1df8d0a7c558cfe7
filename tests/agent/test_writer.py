"""The loop's one writer, while the store takes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from agent.writer import Writer
from store import counters
from store.database import Store

DEADLINE_S = 60.0


def add(store: Store, name: str) -> None:
    """Write one row of 100,000 characters."""
    with store.write() as connection:
        counters.add(connection, name + "x" * 100_000)


def count(store: Store) -> int:
    return len(counters.read(store))


async def test_a_locked_store_is_waited_for_and_the_work_is_done_once(home: Path, store: Store) -> None:
    writer = await Writer.open(home)
    await writer.run(lambda opened: opened.connection.execute("PRAGMA busy_timeout = 20"))
    locking = sqlite3.connect(store.path, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(writer.run(add, "a"))
    await asyncio.sleep(0.2)
    assert await writer.run(count) == 0, "others may read meanwhile"
    assert not waiting.done()
    locking.execute("ROLLBACK")
    locking.close()
    async with asyncio.timeout(DEADLINE_S):
        await waiting
    assert await writer.run(count) == 1
    await writer.close()


async def test_a_full_disk_is_waited_for_and_nothing_half_done_stays(home: Path, store: Store) -> None:
    writer = await Writer.open(home)
    (pages,) = (await writer.run(lambda opened: opened.rows("PRAGMA page_count")))[0]
    await writer.run(lambda opened: opened.rows(f"PRAGMA max_page_count = {pages + 2}"))
    waiting = asyncio.create_task(writer.run(add, "a"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    assert await writer.run(count) == 0
    await writer.run(lambda opened: opened.rows("PRAGMA max_page_count = 100000"))
    async with asyncio.timeout(DEADLINE_S):
        await waiting
    assert await writer.run(count) == 1
    await writer.close()


async def test_a_mistake_of_ours_is_raised_at_once(home: Path, store: Store) -> None:
    writer = await Writer.open(home)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await writer.run(lambda opened: opened.rows("SELECT * FROM elsewhere"))
    await writer.close()
