"""What the embedded broker holds for the loop: nothing that it has acknowledged is dropped to make room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from brokers import free_port

from agent.broker import _config, _KeepingBroker, broker_url
from agent.bus import Bus
from agent.inbound import Inbound
from agent.publish import Publisher
from agent.spool import DROPPED
from agent.undelivered import FOLDER, Message, Undelivered

WAIT_S = 60.0
ROOM = 40_000
TURNS = 20
TEXT = "x" * 2_000


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come true")


def test_a_full_store_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    undelivered = Undelivered(tmp_path, max_bytes=ROOM)
    for number in range(9):
        undelivered.add("t", f"{number} {TEXT}".encode())
    with pytest.raises(OSError, match="at most 40000 bytes may wait"):
        undelivered.add("t", f"9 {TEXT}".encode())
    undelivered.close()
    again = Undelivered(tmp_path, max_bytes=ROOM)
    assert [message.payload[:1] for message in again] == [str(number).encode() for number in range(9)]
    for message in list(again):
        again.done(*message)
    again.add("t", b"there is room again")
    assert list(again) == [Message("t", b"there is room again")]
    assert not (tmp_path / FOLDER / DROPPED).exists()
    again.close()


async def test_a_publisher_waits_with_what_a_full_broker_does_not_take_and_all_arrives_in_order(
    tmp_path: Path, agent_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    port, got = free_port(), list[str]()

    async def handle(batch: Sequence[Inbound]) -> None:
        got.extend(json.loads(one.payload)["event_id"] for one in batch)

    undelivered = Undelivered(tmp_path, max_bytes=ROOM)
    broker = _KeepingBroker(_config(tmp_path, port), undelivered)
    await broker.start()
    publisher = Publisher(broker_url(tmp_path, port), agent_id, spool=tmp_path / "spool")
    try:
        with caplog.at_level(logging.WARNING, "heedloop"):
            sent = [publisher.turn("c", "user", TEXT, event_id=f"e{n:02d}") for n in range(TURNS)]
            await until(lambda: "no message is taken" in caplog.text)
            await until(lambda: publisher.waiting == TURNS - len(list(undelivered)))
            assert 0 < publisher.waiting < TURNS
            await asyncio.sleep(3)
        assert caplog.text.count("records wait on disk") <= 2
        listening = asyncio.create_task(Bus(broker_url(tmp_path, port), agent_id, "s").run(handle))
        await until(lambda: len(set(got)) == TURNS)
        await until(lambda: publisher.waiting == 0)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
    finally:
        publisher.close(timeout=0)
        await broker.shutdown()
        undelivered.close()
    assert list(dict.fromkeys(got)) == sent
    assert publisher.dropped == 0
    assert "never retrieved" not in caplog.text
