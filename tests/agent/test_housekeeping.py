"""The loop's housekeeping, over a real store on its own thread."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from agent.housekeeping import clean, cutoffs, keep_house
from agent.writer import Writer
from policies.config import RetentionConfig
from store import offsets
from store.checkpoint import checkpoint
from store.database import Store
from store.offsets import Offset
from store.write_ahead_log import log_bytes

DAY_MS = 86_400_000


def test_an_age_in_days_is_a_moment_and_none_is_never() -> None:
    config = RetentionConfig(answers_days=2, dead_letters_days=None)
    found = cutoffs(config, 10 * DAY_MS)
    assert (found.answers, found.dead_letters) == (8 * DAY_MS, None)


async def test_places_in_files_that_are_gone_are_forgotten_when_old(home: Path, store: Store) -> None:
    there = home / "agent.jsonl"
    there.touch()
    with store.write() as connection:
        for inode, path in enumerate((str(there), "/gone/old.jsonl", "/gone/new.jsonl")):
            offsets.put(connection, Offset(1, inode, path, 7))
        connection.execute("UPDATE offsets SET updated = 1 WHERE path != '/gone/new.jsonl'")
    writer = await Writer.open(home)
    assert await clean(RetentionConfig(), writer) == {"offsets": 1}
    assert {one.path for one in offsets.known(store)} == {str(there), "/gone/new.jsonl"}
    await writer.close()


async def test_the_file_gets_smaller_when_old_rows_go(home: Path, store: Store) -> None:
    with store.write() as connection:
        connection.executemany(
            "INSERT INTO dead_letters (source, reason, payload, bytes, received, digest)"
            " VALUES ('s', 'r', ?, 0, 1, ?)",
            [("x" * 20_000, str(number)) for number in range(50)],
        )
    checkpoint(store)
    full = store.path.stat().st_size
    writer = await Writer.open(home)
    keeping = asyncio.create_task(keep_house(RetentionConfig(every_s=0.1), writer))
    async with asyncio.timeout(30):
        while store.path.stat().st_size > full - 1_000_000:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await writer.close()


async def test_it_sweeps_cuts_the_log_and_survives_a_locked_store(home: Path, store: Store) -> None:
    """Another process holds the write lock for longer than the busy timeout: the sweep is tried again."""
    with store.write() as connection:
        connection.execute(
            "INSERT INTO dead_letters (source, reason, payload, bytes, received, digest)"
            " VALUES ('s', 'r', '', 0, 1, 'd')"
        )
    writer = await Writer.open(home)
    await writer.run(lambda opened: opened.connection.execute("PRAGMA busy_timeout = 50"))
    locking = sqlite3.connect(store.path, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    keeping = asyncio.create_task(keep_house(RetentionConfig(every_s=0.1), writer))
    await asyncio.sleep(0.5)
    assert store.rows("SELECT count(*) FROM dead_letters")[0][0] == 1
    locking.execute("ROLLBACK")
    locking.close()
    async with asyncio.timeout(30):
        while store.rows("SELECT count(*) FROM dead_letters")[0][0] or log_bytes(store.path):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await writer.close()
