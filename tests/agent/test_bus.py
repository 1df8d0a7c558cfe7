"""The bus on real brokers: nothing that was not handled is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest
from brokers import BrokerProcess, free_port

from agent.address import parse_url
from agent.bus import Bus, Peer, require_broker
from agent.inbound import Inbound
from policies.errors import ConfigError, Unreachable
from policies.topics import topic

WAIT_S = 20.0


class Inbox:
    """A handler that remembers what it got from one agent; `fail_on` raises instead of handling."""

    def __init__(self, agent: str, fail_on: bytes | None = None) -> None:
        self.agent = agent
        self.fail_on = fail_on
        self.got: list[bytes] = []
        self._news = asyncio.Condition()

    async def __call__(self, batch: Sequence[Inbound]) -> None:
        for message in batch:
            if message.agent != self.agent:
                continue
            if message.payload == self.fail_on:
                raise RuntimeError("killed before the commit")
            async with self._news:
                self.got.append(message.payload)
                self._news.notify_all()

    async def wait_for(self, count: int) -> list[bytes]:
        async with asyncio.timeout(WAIT_S), self._news:
            await self._news.wait_for(lambda: len(self.got) >= count)
        return self.got


@asynccontextmanager
async def running(
    bus: Bus, handle: Callable[[Sequence[Inbound]], Awaitable[None]]
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bus.run(handle))
    try:
        async with asyncio.timeout(WAIT_S):
            await bus.wait_connected()
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def client(broker: BrokerProcess, **settings: Any) -> AsyncIterator[aiomqtt.Client]:
    address = parse_url(broker.url)
    async with aiomqtt.Client(
        address.host, address.port, username=address.username, password=address.password, **settings
    ) as connected:
        yield connected


async def send(broker: BrokerProcess, agent: str, *payloads: bytes) -> None:
    async with client(broker) as sender:
        for payload in payloads:
            await sender.publish(topic(agent, "turns"), payload, qos=1)


async def lost(bus: Bus) -> None:
    for _ in range(int(WAIT_S / 0.02)):
        if bus.state == "waiting":
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the bus is still {bus.state}")


async def test_message_whose_handler_died_comes_again(each_broker: BrokerProcess, agent_id: str) -> None:
    dying = Inbox(agent_id, fail_on=b"2")
    task = asyncio.create_task(Bus(each_broker.url, agent_id, f"s-{agent_id}").run(dying))
    async with asyncio.timeout(WAIT_S):
        while not dying.got:
            await send(each_broker, agent_id, b"1")
        await send(each_broker, agent_id, b"2", b"3")
        with pytest.raises(RuntimeError, match="killed before the commit"):
            await task
    after = Inbox(agent_id)
    async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), after):
        assert (await after.wait_for(2))[-2:] == [b"2", b"3"]


async def test_slow_handler_does_not_lose_what_waits_behind_it(amqtt: BrokerProcess, agent_id: str) -> None:
    """amqtt alone forgets an unacknowledged message after five seconds."""
    release = asyncio.Event()
    inbox = Inbox(agent_id)

    async def blocked(batch: Sequence[Inbound]) -> None:
        await release.wait()
        await inbox(batch)

    async with running(Bus(amqtt.url, agent_id, f"s-{agent_id}"), blocked):
        await send(amqtt, agent_id, b"1", b"2")
        await asyncio.sleep(6)
    async with running(Bus(amqtt.url, agent_id, f"s-{agent_id}"), inbox):
        assert await inbox.wait_for(2) == [b"1", b"2"]


async def test_offline_messages_arrive_in_order(each_broker: BrokerProcess, agent_id: str) -> None:
    async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), Inbox(agent_id)):
        pass
    sent = [str(n).encode() for n in range(50)]
    await send(each_broker, agent_id, *sent)
    inbox = Inbox(agent_id)
    async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), inbox):
        assert await inbox.wait_for(50) == sent


async def test_handled_messages_do_not_come_again(each_broker: BrokerProcess, agent_id: str) -> None:
    first, second = Inbox(agent_id), Inbox(agent_id)
    async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), first):
        await send(each_broker, agent_id, b"1", b"2")
        await first.wait_for(2)
    async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), second):
        await send(each_broker, agent_id, b"3")
        assert await second.wait_for(1) == [b"3"]


async def test_topics_that_are_not_read_end_nothing(each_broker: BrokerProcess, agent_id: str) -> None:
    session = f"s-{agent_id}"
    async with client(each_broker, identifier=session, clean_session=False) as earlier:
        for foreign in (topic(agent_id, "status"), f"elsewhere/{agent_id}"):
            await earlier.subscribe(foreign, qos=1)
    inbox = Inbox(agent_id)
    async with running(Bus(each_broker.url, agent_id, session), inbox), client(each_broker) as sender:
        for foreign in (topic(agent_id, "status"), f"elsewhere/{agent_id}"):
            await sender.publish(foreign, b"not ours", qos=1)
        await sender.publish(topic(agent_id, "turns"), b"1", qos=1)
        assert await inbox.wait_for(1) == [b"1"]


async def test_retained_message_is_only_for_its_subscriber(each_broker: BrokerProcess, agent_id: str) -> None:
    """amqtt alone sends it to whoever connects while somebody is subscribed."""
    status, turns = topic(agent_id, "status"), topic(agent_id, "turns")
    async with client(each_broker) as watcher, asyncio.timeout(WAIT_S):
        await watcher.publish(status, b"kept", qos=1, retain=True)
        await watcher.subscribe(status, qos=1)
        assert (await anext(watcher.messages)).payload == b"kept"
        async with client(each_broker) as other:
            await other.subscribe(turns, qos=1)
            await other.publish(turns, b"1", qos=1)
            assert (await anext(other.messages)).payload == b"1"


async def test_status_says_offline_however_the_loop_ends(each_broker: BrokerProcess, agent_id: str) -> None:
    async with client(each_broker) as watcher:
        await watcher.subscribe(topic(agent_id, "status"), qos=1)

        async def next_state() -> str:
            async with asyncio.timeout(WAIT_S):
                return str(json.loads((await anext(watcher.messages)).payload)["state"])

        async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), Inbox(agent_id)):
            pass
        assert await next_state() == "offline"
        async with running(bus := Bus(each_broker.url, agent_id, f"s-{agent_id}"), Inbox(agent_id)):
            assert bus._client is not None
            bus._client._client.socket().shutdown(2)  # as a kill -9 closes it
            assert await next_state() == "offline"


async def test_reconnects_after_the_broker_came_back(
    tmp_path_factory: pytest.TempPathFactory, agent_id: str
) -> None:
    broker = BrokerProcess("amqtt", tmp_path_factory.mktemp("own"))
    broker.start()
    inbox = Inbox(agent_id)
    bus = Bus(broker.url, agent_id, f"s-{agent_id}")
    try:
        async with running(bus, inbox):
            assert broker.stop() == 0
            await lost(bus)
            with pytest.raises(Unreachable, match="not connected"):
                await bus.publish(agent_id, "events", "{}")
            broker.start()
            async with asyncio.timeout(WAIT_S):
                await bus.wait_connected()
            await send(broker, agent_id, b"1")
            assert await inbox.wait_for(1) == [b"1"]
    finally:
        broker.stop()
    assert broker.out.read_text() == ""
    assert "Traceback" not in broker.log.read_text()


async def test_what_came_together_is_handled_together_and_in_order(
    each_broker: BrokerProcess, agent_id: str
) -> None:
    sizes: list[int] = []
    inbox = Inbox(agent_id)

    async def slow(batch: Sequence[Inbound]) -> None:
        sizes.append(len(batch))
        await inbox(batch)
        await asyncio.sleep(0.05)

    sent = [str(number).encode() for number in range(100)]
    async with running(Bus(each_broker.url, agent_id, f"s-{agent_id}"), slow):
        await send(each_broker, agent_id, *sent)
        assert await inbox.wait_for(100) == sent
    assert max(sizes) > 1


async def test_cancelled_bus_ends_though_the_goodbye_fails(
    broker: BrokerProcess, agent_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = aiomqtt.Client.__aexit__

    async def time_out(client: aiomqtt.Client, *reason: Any) -> None:
        await leave(client, *reason)
        raise aiomqtt.MqttError("Operation timed out")

    monkeypatch.setattr(aiomqtt.Client, "__aexit__", time_out)
    bus = Bus(broker.url, agent_id, f"s-{agent_id}")
    task = asyncio.create_task(bus.run(Inbox(agent_id)))
    async with asyncio.timeout(WAIT_S):
        await bus.wait_connected()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=WAIT_S)
    assert task in done
    assert task.cancelled()


async def test_published_event_reaches_a_subscriber(each_broker: BrokerProcess, agent_id: str) -> None:
    async with client(each_broker) as watcher:
        await watcher.subscribe(topic(agent_id, "events"), qos=1)
        async with running(bus := Bus(each_broker.url, agent_id, f"s-{agent_id}"), Inbox(agent_id)):
            await bus.publish(agent_id, "events", '{"type": "alert"}')
        async with asyncio.timeout(WAIT_S):
            assert (await anext(watcher.messages)).payload == b'{"type": "alert"}'


@pytest.mark.parametrize("who", ["nobody:wrong", "heedloop:wrong"])
async def test_wrong_credentials_are_one_clear_line(amqtt: BrokerProcess, agent_id: str, who: str) -> None:
    bus = Bus(f"mqtt://{who}@127.0.0.1:{amqtt.port}", agent_id, f"s-{agent_id}")
    with pytest.raises(
        Unreachable, match=r"^broker mqtt://127.0.0.1:\d+: it refuses user '\w+': check"
    ) as caught:
        await asyncio.wait_for(bus.run(Inbox(agent_id)), WAIT_S)
    assert "wrong" not in str(caught.value)
    assert caught.value.exit_code == 69


async def test_anonymous_clients_are_refused_by_the_embedded_broker(
    amqtt: BrokerProcess, agent_id: str
) -> None:
    with pytest.raises(Unreachable):
        await asyncio.wait_for(
            Bus(f"mqtt://127.0.0.1:{amqtt.port}", agent_id, "s").run(Inbox(agent_id)), WAIT_S
        )


async def test_broker_that_is_required_must_answer(amqtt: BrokerProcess) -> None:
    await require_broker(amqtt.url)
    with pytest.raises(Unreachable, match=r"^broker mqtt://127.0.0.1:\d+: it refuses user 'me': check"):
        await require_broker(f"mqtt://me:wrong@127.0.0.1:{amqtt.port}")
    with pytest.raises(Unreachable, match=r"^broker mqtt://127.0.0.1:\d+: .*refused .*bus.url"):
        await require_broker(f"mqtt://127.0.0.1:{free_port()}")


async def test_reply_is_for_its_own_command_and_agent(each_broker: BrokerProcess, agent_id: str) -> None:
    replies = [("other", "k1", 0), (agent_id, "k2", 1), (agent_id, "k1", 2)]
    async with client(each_broker) as loop, Peer(each_broker.url) as peer, asyncio.timeout(WAIT_S):
        waiting = asyncio.create_task(peer.reply(agent_id, "k1"))
        for agent, order, number in replies:
            event = {"type": "reply", "reply_to": order, "ok": True, "result": {"number": number}}
            await loop.publish(topic(agent, "events"), json.dumps(event), qos=1)
        assert (await waiting)["result"] == {"number": 2}
        assert (await peer.reply(agent_id, "k2"))["result"] == {"number": 1}


async def test_missing_broker_is_waited_for(agent_id: str) -> None:
    bus = Bus(f"mqtt://127.0.0.1:{free_port()}", agent_id, "s")
    task = asyncio.create_task(bus.run(Inbox(agent_id)))
    await lost(bus)
    assert "refused" in bus.detail
    assert not task.done()
    task.cancel()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h:1", "scheme 'http'"),
        ("localhost:1883", "mqtt://user:password@host:port"),
        ("mqtt://u:secret@h:99999", "Port out of range"),
        ("mqtt://", "host None"),
    ],
)
def test_unusable_url_is_one_clear_line(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_url_parts_are_decoded() -> None:
    assert parse_url("mqtts://me:p%40ss@broker.example") == ("broker.example", 8883, "me", "p@ss", True)
