"""The loop as a process, on a real broker: killed at any moment, it loses nothing and does nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest
from brokers import BrokerProcess, free_port

from agent.address import parse_url
from agent.bus import Peer
from agent.loop import _end
from policies.config import BusConfig, Config
from policies.messages import AlertEvent
from policies.topics import topic
from store import commands, counters, dead_letters, outbox, state
from store.database import Store
from store.wakeup import notify

WAIT_S = 30.0


class LoopProcess:
    """`python -m agent` with a home of its own."""

    def __init__(self, home: Path, broker_url: str, agent: str) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "PYTHONSAFEPATH": "1",
            "HEEDLOOP_HOME": str(home),
            "HEEDLOOP_BUS__URL": broker_url,
            "HEEDLOOP_BUS__AGENT": agent,
            "HEEDLOOP_SOURCE__WATCH": json.dumps([str(home / "logs" / "*.jsonl")]),
        }
        self.log = home / "loop.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, **environment: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**self.environment, **environment},
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@pytest.fixture
def loop(home: Path, broker: BrokerProcess, agent_id: str) -> Iterator[LoopProcess]:
    process = LoopProcess(home, broker.url, agent_id)
    yield process
    if process.running:
        process.end(signal.SIGKILL)


async def until(condition: Callable[[], Any], loop: LoopProcess) -> None:
    """Wait until a condition holds; an exit of the loop or WAIT_S without it is a failure."""
    for _ in range(int(WAIT_S / 0.05)):
        if condition():
            return
        assert loop.running, loop.log.read_text()
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not come true within {WAIT_S} s: {loop.log.read_text()}")


async def listening(loop: LoopProcess, store: Store) -> str:
    """Wait until the bus is connected; return the URL of the loop's HTTP server."""
    await until(lambda: "bus connected" in loop.log.read_text(), loop)
    return str(state.get(store, "http_url"))


def turn(event_id: str, role: str = "user", conversation_id: str = "c", content: str = "x") -> str:
    return json.dumps(
        {"event_id": event_id, "conversation_id": conversation_id, "role": role, "content": content}
    )


def event_ids(store: Store, agent: str) -> list[str]:
    return [
        row[0] for row in store.rows("SELECT event_id FROM events WHERE agent = ? ORDER BY seq", (agent,))
    ]


async def test_message_and_log_line_become_rows_once(
    loop: LoopProcess, store: Store, each_broker: BrokerProcess, agent_id: str
) -> None:
    loop.environment["HEEDLOOP_BUS__URL"] = each_broker.url
    loop.start()
    await listening(loop, store)
    async with Peer(each_broker.url) as peer:
        huge = turn("0", content="x" * 5_000_000)
        for payload in (turn("1"), turn("1"), huge, "nonsense", turn("2", "assistant")):
            await peer.publish(agent_id, "turns", payload)
        (loop.home / "logs").mkdir()
        (loop.home / "logs" / "a.jsonl").write_text(f"{turn('2', 'assistant')}\n{turn('3')}\n{{half")
        await until(lambda: len(event_ids(store, agent_id)) == 3, loop)
        await until(lambda: counters.read(store).get("turns_duplicate") == 2, loop)
    assert event_ids(store, agent_id) == ["1", "2", "3"]
    assert [letter["bytes"] for letter in dead_letters.recent(store)] == [len("nonsense"), len(huge)]
    assert [row["id"] for row in store.rows("SELECT id FROM decisions")] == ["2#0"]


async def test_kill_9_in_the_middle_loses_nothing_and_repeats_nothing(
    loop: LoopProcess, store: Store, each_broker: BrokerProcess, agent_id: str
) -> None:
    loop.environment["HEEDLOOP_BUS__URL"] = each_broker.url
    sent = [f"{number:03d}" for number in range(240)]
    log = loop.home / "logs" / "a.jsonl"
    log.parent.mkdir(parents=True)
    loop.start()
    await listening(loop, store)
    async with Peer(each_broker.url) as peer:
        for number, event_id in enumerate(sent):
            await peer.publish(agent_id, "turns", turn(event_id, conversation_id=f"c{number % 7}"))
            with log.open("a") as file:
                file.write(turn(f"log-{event_id}", conversation_id=f"d{number % 7}") + "\n")
            if number in (60, 150):
                loop.end(signal.SIGKILL)
            if number in (90, 180):
                loop.start()
        await until(lambda: len(event_ids(store, agent_id)) == 2 * len(sent), loop)
    kept = event_ids(store, agent_id)
    assert sorted(kept) == sorted([*sent, *(f"log-{event_id}" for event_id in sent)])
    assert [one for one in kept if one.startswith("log-")] == [f"log-{event_id}" for event_id in sent]


async def test_events_and_replies_reach_the_bus(
    loop: LoopProcess, store: Store, broker: BrokerProcess, agent_id: str
) -> None:
    with store.write() as connection:
        outbox.put(connection, AlertEvent(ts="t", message="from before the start"))
    loop.start()
    await listening(loop, store)
    async with Peer(broker.url) as peer, asyncio.timeout(WAIT_S):
        order = {"event_id": f"o-{agent_id}", "command": "pause"}
        await peer.publish(agent_id, "commands", json.dumps(order))
        await until(lambda: commands.waiting(store), loop)
        with store.write() as connection:
            commands.finish(connection, order["event_id"], "done", {"paused": True})
        notify(loop.home, "loop")
        reply = await peer.reply(agent_id, order["event_id"])
    assert (reply["ok"], reply["result"]) == (True, {"paused": True})
    await until(lambda: not outbox.unsent(store), loop)


async def test_status_is_retained_and_ends_offline(
    loop: LoopProcess, store: Store, broker: BrokerProcess, agent_id: str
) -> None:
    address = parse_url(broker.url)
    loop.start()
    await listening(loop, store)
    states: list[str] = []
    async with (
        aiomqtt.Client(
            address.host, address.port, username=address.username, password=address.password
        ) as watcher,
        asyncio.timeout(WAIT_S),
    ):
        await watcher.subscribe(topic(agent_id, "status"), qos=1)
        async for message in watcher.messages:
            states.append(json.loads(bytes(message.payload))["state"])
            if states == ["starting"]:
                with store.write() as connection:
                    state.put(connection, "activity", "listening")
            elif states[-1] == "listening" and loop.running:
                assert loop.end() == 0
            elif states[-1] == "offline":
                break
    assert [one for n, one in enumerate(states) if one not in states[:n]] == [
        "starting",
        "listening",
        "offline",
    ]
    assert "Traceback" not in loop.log.read_text()


async def test_http_answers_for_the_running_loop(loop: LoopProcess, store: Store, agent_id: str) -> None:
    loop.start()
    url = await listening(loop, store)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/healthz")).json() == {"alive": True}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (
            503,
            ["vllm is not started", "learner is not started"],
        )
        assert "heedloop_bus_connected 1.0" in (await client.get("/metrics")).text
    assert loop.end() == 0


async def test_configuration_of_up_comes_from_the_store(
    loop: LoopProcess, store: Store, broker: BrokerProcess
) -> None:
    bus = BusConfig(url=broker.url, agent="decided")
    with store.write() as connection:
        state.put(connection, "config", Config(home=loop.home, bus=bus).model_dump(mode="json"))
    loop.start("--home", str(loop.home), HEEDLOOP_BUS__URL="mqtt://elsewhere:1")
    await listening(loop, store)
    assert state.get(store, "agent") == "decided"
    assert loop.end() == 0


async def test_stops_at_once_while_the_broker_is_missing(loop: LoopProcess, store: Store) -> None:
    loop.start(HEEDLOOP_BUS__URL=f"mqtt://127.0.0.1:{free_port()}")
    await until(lambda: "bus not connected" in loop.log.read_text(), loop)
    assert loop.end() == 0


def test_refused_credentials_end_it_with_one_line(loop: LoopProcess, amqtt: BrokerProcess) -> None:
    loop.start(HEEDLOOP_BUS__URL=f"mqtt://nobody:wrong@127.0.0.1:{amqtt.port}")
    assert loop.process is not None
    assert loop.process.wait(WAIT_S) == 69
    assert loop.log.read_text().count("\n") == 1
    assert "refuses user 'nobody'" in loop.log.read_text()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HEEDLOOP_BUS__URL": "http://x"}, "bus.url"),
        ({"HEEDLOOP_BUS__URL": "null"}, "neither bus.url nor bus.port"),
        ({"HEEDLOOP_HTTP__PROT": "1"}, "HEEDLOOP_HTTP__PROT"),
    ],
)
def test_unusable_setting_ends_it_with_one_line(
    loop: LoopProcess, environment: dict[str, str], said: str
) -> None:
    loop.start(**environment)
    assert loop.process is not None
    assert loop.process.wait(WAIT_S) == 2
    assert loop.log.read_text().count("\n") == 1
    assert said in loop.log.read_text()


def test_taken_http_port_ends_it_with_one_line(loop: LoopProcess) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        loop.start(HEEDLOOP_HTTP__PORT=str(taken.getsockname()[1]))
        assert loop.process is not None
        assert loop.process.wait(WAIT_S) == 2
    assert loop.log.read_text().count("\n") == 1
    assert "http.port" in loop.log.read_text()


async def test_a_task_that_loses_one_cancellation_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.loop.CANCEL_AGAIN_S", 0.05)
    losses = 0

    async def deaf_once() -> None:
        nonlocal losses
        while True:
            try:
                await asyncio.sleep(WAIT_S)
            except asyncio.CancelledError:
                losses += 1
                if losses > 1:
                    raise

    task = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        await _end([task])
    assert task.cancelled()
