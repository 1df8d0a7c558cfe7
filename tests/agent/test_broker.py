"""The embedded broker as a process."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from brokers import BrokerProcess

from agent.bus import Bus, Peer
from agent.credentials import broker_url
from agent.inbound import Inbound


def test_stops_cleanly_and_says_nothing(tmp_path: Path) -> None:
    broker = BrokerProcess("amqtt", tmp_path)
    broker.start()
    assert broker.stop() == 0
    assert broker.out.read_text() == ""
    assert "Traceback" not in broker.log.read_text()


def test_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "agent.broker", "--home", str(tmp_path), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"port {port}" in ended.stderr
    assert "bus.port" in ended.stderr


async def test_what_it_acknowledged_outlives_its_own_kill(tmp_path: Path) -> None:
    """Nobody listens when two turns are acknowledged, then kill -9: the next broker delivers them."""
    broker = BrokerProcess("amqtt", tmp_path)
    broker.start()
    async with Peer(broker.url) as peer:
        await peer.publish("coder", "turns", '{"n": 1}')
        await peer.publish("coder", "turns", '{"n": 2}')
    assert broker.process is not None
    broker.process.kill()
    broker.process.wait()
    broker.start()
    try:
        assert await received(broker.url, 2) == {b'{"n": 1}', b'{"n": 2}'}
        assert broker.stop() == 0
        broker.start()
        async with Peer(broker.url) as peer:
            await peer.publish("coder", "turns", '{"n": 3}')
        assert await received(broker.url, 1) == {b'{"n": 3}'}, "what the loop had acknowledged is gone"
    finally:
        broker.stop()


async def received(url: str, count: int) -> set[bytes]:
    """Listen as the loop does until so many turns have come, and acknowledge them."""
    got: set[bytes] = set()
    enough = asyncio.Event()

    async def take(batch: Sequence[Inbound]) -> None:
        got.update(message.payload for message in batch)
        if len(got) >= count:
            enough.set()

    bus = Bus(url, "coder", "loop-session")
    running = asyncio.create_task(bus.run(take))
    async with asyncio.timeout(30):
        await enough.wait()
        await asyncio.sleep(0.5)  # the acknowledgements go out
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return got


def test_credentials_are_private_and_last(tmp_path: Path) -> None:
    broker = BrokerProcess("amqtt", tmp_path)
    url = broker_url(tmp_path, 1)
    broker.start()
    broker.stop()
    assert broker_url(tmp_path, 1) == url
    for name in ("broker.json", "broker.passwords"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    password = url.split(":")[2].split("@")[0]
    assert password not in (tmp_path / "broker.passwords").read_text()


def test_listens_on_one_loopback_address_alone(amqtt: BrokerProcess) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", amqtt.port)) != 0
