"""What the loop does beside its work so that months do not show: old rows go, with the room that they took,
and the write-ahead log is cut.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from agent.writer import Writer
from policies.config import RetentionConfig
from store import offsets
from store.checkpoint import checkpoint
from store.clock import now_ms
from store.database import Store
from store.retention import Cutoffs, give_back, sweep

log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
_BREATH_S = 0.1
_PAGES = 1_000
"""Of 4 KiB, given back in one transaction."""
CHECKPOINT_EVERY_S = 60.0
CHECKPOINT_ABOVE = 8 * 2**20
"""Bytes of the log that are cut within a minute; smaller ones are cut with the sweep."""


async def keep_house(config: RetentionConfig, writer: Writer) -> None:
    """Sweep and checkpoint, for ever."""
    due = 0.0
    while True:
        now = asyncio.get_running_loop().time()
        if now >= due:
            due = now + config.every_s
            await clean(config, writer)
            await writer.run(checkpoint)
        else:
            await writer.run(checkpoint, CHECKPOINT_ABOVE)
        await asyncio.sleep(min(CHECKPOINT_EVERY_S, config.every_s))


async def clean(config: RetentionConfig, writer: Writer) -> dict[str, int]:
    """Remove all that is old, a small transaction at a time, and give back the room that it took.

    Returns how many rows of each kind, and how many pages.
    """
    total: dict[str, int] = {}
    while removed := await writer.run(sweep, cutoffs(config, now_ms()), config.batch):
        for name, number in removed.items():
            total[name] = total.get(name, 0) + number
        await asyncio.sleep(_BREATH_S)
    if config.offsets_days is not None:
        before = now_ms() - int(config.offsets_days * _DAY_MS)
        total["offsets"] = await writer.run(_forget_places, before)
    while given := await writer.run(give_back, _PAGES):
        total["free_pages"] = total.get("free_pages", 0) + given
        await asyncio.sleep(_BREATH_S)
    if any(total.values()):
        log.info("old rows removed or looked at", **total)
    return total


def cutoffs(config: RetentionConfig, now: int) -> Cutoffs:
    """Return the moments (UTC ms) before which things are old."""

    def before(days: float | None) -> int | None:
        return None if days is None else now - int(days * _DAY_MS)

    return Cutoffs(
        answers=before(config.answers_days),
        dead_letters=before(config.dead_letters_days),
        label_history=before(config.label_history_days),
        conversations=before(config.conversations_days),
        outbox=before(config.outbox_days),
        commands=before(config.commands_days),
    )


def _forget_places(store: Store, before: int) -> int:
    """Forget the places in files that are gone."""
    gone = [one for one in offsets.untouched_since(store, before) if not Path(one.path).exists()]
    if gone:
        with store.write() as connection:
            offsets.forget(connection, [one.identity for one in gone])
    return len(gone)
