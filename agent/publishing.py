"""From the store to the bus: queued events, and the retained status of the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from agent.bus import Bus
from agent.writer import Writer
from policies.errors import Unreachable
from policies.messages import StatusPayload
from store import outbox, state, versions
from store.clock import now_ms, rfc3339
from store.database import Store
from store.status import last_probe, queues

log = structlog.get_logger(__name__)

POLL_S = 1.0
AT_ONCE = 10
"""Publishes that wait for their acknowledgement together."""
HEARTBEAT_S = 10.0
_SHARE = 20
"""So many times as long as it took to read the status, it is left as it is: ingest needs the same thread."""


async def publish_events(bus: Bus, writer: Writer, agent: str, wake: asyncio.Event) -> None:
    """Publish queued events for ever, each marked sent after the broker acknowledged it.

    `agent` is the topic of what concerns the server. A crash between the two publishes an event twice.
    """
    while True:
        wake.clear()
        while await publish_waiting(bus, writer, agent):
            pass
        with suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), POLL_S)


async def publish_waiting(bus: Bus, writer: Writer, agent: str) -> bool:
    """Publish one batch of queued events. Returns True where there may be more to publish now."""
    await bus.wait_connected()
    batch = await writer.run(outbox.unsent)
    sent: list[int] = []
    published = bool(batch)
    try:
        for start in range(0, len(batch), AT_ONCE):
            await _publish(bus, agent, batch[start : start + AT_ONCE], sent)
    except* Unreachable as errors:
        log.info("event not published, it stays queued", error=str(errors.exceptions[0]))
        published = False
    finally:  # also when cancelled: what the broker has is not sent again
        if sent:
            await writer.run(_mark_sent, sent)
    return published


async def publish_status(bus: Bus, writer: Writer, agent: str) -> None:
    """Publish the retained status on each change, and every HEARTBEAT_S seconds; see `look_again_s`."""
    last: dict[str, Any] = {}
    due = 0.0
    while True:
        await bus.wait_connected()
        status, took_s = await writer.run(_timed_status)
        content = status.model_dump(exclude={"ts"})
        now = asyncio.get_running_loop().time()
        if content != last or now >= due:
            try:
                await bus.publish(agent, "status", status.model_dump_json(), retain=True)
            except Unreachable as error:
                log.info("status not published", error=str(error))
            else:
                last, due = content, now + HEARTBEAT_S
        await asyncio.sleep(look_again_s(took_s))


def look_again_s(took_s: float) -> float:
    """Return how long a status that took so long to read is left: a large store takes a while to count."""
    return min(HEARTBEAT_S, max(POLL_S, _SHARE * took_s))


def read_status(store: Store) -> StatusPayload:
    """Return what contract v1 says of the running system."""
    version, probe = versions.in_force(store), last_probe(store)
    row = store.row("SELECT max(id) AS step FROM steps WHERE state = 'confirmed'")
    return StatusPayload(
        ts=rfc3339(now_ms()),
        state="paused" if state.get(store, "paused", False) else state.get(store, "activity", "starting"),
        weight_version=None if version is None else version.id,
        step=None if row is None else row["step"],
        queues=queues(store),
        last_probe={} if probe is None else probe["values"],
    )


def _timed_status(store: Store) -> tuple[StatusPayload, float]:
    """Read the status; also return the seconds that it held up the store's thread."""
    began = time.monotonic()
    return read_status(store), time.monotonic() - began


async def _publish(bus: Bus, agent: str, events: Sequence[outbox.Outgoing], sent: list[int]) -> None:
    """Publish some events at once; `sent` gets the ids of those that the broker has."""

    async def one(event: outbox.Outgoing) -> None:
        await bus.publish(event.agent or agent, "events", event.payload)
        sent.append(event.id)

    async with asyncio.TaskGroup() as group:
        for event in events:
            group.create_task(one(event))


def _mark_sent(store: Store, ids: list[int]) -> None:
    with store.write() as connection:
        outbox.mark_sent(connection, ids)
        outbox.prune(connection)
