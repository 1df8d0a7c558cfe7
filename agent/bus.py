"""The MQTT bus: the session of the loop. (`agent.publish` is what agents send with.)

The library is `aiomqtt`: asyncio-mqtt under its present name, given by its own authors; the package of the
old name no longer works with current paho-mqtt. aiomqtt acknowledges a message when it arrives, so a process
killed before its commit would lose it. Here paho's manual acknowledgement is used beneath it: messages are
acknowledged after their handler returned, and the broker sends every other one again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, NoReturn

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError

from agent.address import NO_CERTIFICATES, Address, Certificates, parse_url, tls_context
from agent.inbound import Inbound
from policies.errors import Unreachable
from policies.messages import StatusPayload
from policies.topics import INBOUND, PREFIX, Channel, parse_topic, topic
from store.clock import now_ms, rfc3339

log = structlog.get_logger(__name__)

KEEPALIVE_S = 30
PUBLISH_TIMEOUT_S = 5.0
GOODBYE_TIMEOUT_S = 1.0
_BACKOFF_S = (0.25, 15.0)
_QOS = 1
_BATCH = 256
"""Messages that one call of the handler may get. The broker's window of unacknowledged ones binds first."""
_BATCH_BYTES = 4_000_000
_REFUSED = (4, 5, 134, 135)
"""CONNACK codes of MQTT 3.1.1 and 5 for bad credentials and for a client that is not authorised."""


Handler = Callable[[Sequence[Inbound]], Awaitable[None]]
State = Literal["connecting", "connected", "waiting"]


class Bus:
    """A persistent session at the broker: reconnects for ever, loses nothing that was not handled.

    `agent` names the status topic that carries the last will; inbound topics of every agent are read.
    `identifier` names the session: the same one after a restart, another one for another store.
    """

    def __init__(
        self, url: str, agent: str, identifier: str, certificates: Certificates = NO_CERTIFICATES
    ) -> None:
        self.address = parse_url(url)
        self._tls = tls_context(self.address, certificates)
        self.agent = agent
        self.identifier = identifier
        self.state: State = "connecting"
        self.detail = ""
        self._client: aiomqtt.Client | None = None
        self._connected = asyncio.Event()
        self._was_connected = False

    @property
    def connected(self) -> bool:
        """Return whether the session is up and subscribed."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return once the session is up and subscribed."""
        await self._connected.wait()

    async def run(self, handle: Handler) -> NoReturn:
        """Hand all messages that came to `handle`, in their order, and acknowledge them when it returned.

        `handle` sees the channels of INBOUND alone; anything else is logged, acknowledged and dropped.
        Reconnects with jittered backoff. Raises Unreachable when the broker refuses us at start-up; an
        exception of `handle` goes through, and its messages stay unacknowledged.
        """
        delay = _BACKOFF_S[0]
        while True:
            try:
                await self._session(handle)
            except aiomqtt.MqttError as error:
                if _cancelled():  # the goodbye failed: that must not bring a cancelled task back to life
                    raise asyncio.CancelledError from error
                self._raise_if_refused(error)
                if self.state == "connected":
                    delay = _BACKOFF_S[0]
                self._wait_state(error)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _BACKOFF_S[1])

    async def publish(self, agent: str, channel: Channel, payload: str, *, retain: bool = False) -> None:
        """Publish at QoS 1 and return when the broker has it. Raises Unreachable when it has not."""
        client = self._client
        if client is None or not self.connected:
            raise Unreachable(f"broker {self.address.shown}: not connected ({self.detail or self.state})")
        with _told(self.address):
            await client.publish(
                topic(agent, channel), payload, qos=_QOS, retain=retain, timeout=PUBLISH_TIMEOUT_S
            )

    async def _session(self, handle: Handler) -> None:
        self.state = "connecting"
        client = self._new_client()
        async with client:
            try:
                await self._subscribe(client)
                self._client, self.state, self.detail = client, "connected", ""
                self._was_connected = True
                self._connected.set()
                log.info("bus connected", broker=self.address.shown, session=self.identifier)
                await self._read(client, handle)
            finally:
                self._connected.clear()
                self._client = None
                await self._say_goodbye(client)

    async def _say_goodbye(self, client: aiomqtt.Client) -> None:
        """Publish what the last will says: a clean disconnect keeps the broker from doing so."""
        with contextlib.suppress(aiomqtt.MqttError):  # the connection is gone: the last will speaks
            await client.publish(
                topic(self.agent, "status"), _offline(), qos=_QOS, retain=True, timeout=GOODBYE_TIMEOUT_S
            )

    async def _read(self, client: aiomqtt.Client, handle: Handler) -> None:
        async for first in client.messages:
            messages = [first, *_waiting(client, len(first.payload))]
            inbound = [_inbound(message) for message in messages]
            ours = [one for one in inbound if one is not None]
            if ours:
                await handle(ours)
            for message in messages:
                client._client.ack(message.mid, message.qos)

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        codes = await client.subscribe([(f"{PREFIX}/+/{channel}", _QOS) for channel in INBOUND])
        granted = [code if isinstance(code, int) else code.value for code in codes]
        for channel, code in zip(INBOUND, granted, strict=True):
            if code >= 0x80:
                raise Unreachable(
                    f"broker {self.address.shown} refuses to subscribe us to {PREFIX}/+/{channel}:"
                    " allow the user of bus.url to read it"
                )

    def _new_client(self) -> aiomqtt.Client:
        will = aiomqtt.Will(topic(self.agent, "status"), _offline(), qos=_QOS, retain=True)
        client = _client(self.address, self._tls, identifier=self.identifier, clean_session=False, will=will)
        client._client.manual_ack_set(True)
        return client

    def _raise_if_refused(self, error: aiomqtt.MqttError) -> None:
        """Give up on wrong credentials, but only at start-up: later a broker may be in repair."""
        if not self._was_connected and _is_refusal(error):
            raise _explained(self.address, error) from error

    def _wait_state(self, error: aiomqtt.MqttError) -> None:
        if self.detail != str(error):
            log.warning("bus not connected, trying again", broker=self.address.shown, error=str(error))
        self.state, self.detail = "waiting", str(error)


class Peer:
    """The other side of the bus: a program that sends turns, corrections, commands. Use as `async with`."""

    def __init__(self, url: str, certificates: Certificates = NO_CERTIFICATES) -> None:
        self.address = parse_url(url)
        self._client = _client(self.address, tls_context(self.address, certificates))
        self._replies: dict[tuple[str, str], asyncio.Future[dict[str, Any]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Peer:
        """Connect. Raises Unreachable where the broker does not answer or refuses."""
        with _told(self.address):
            await self._client.__aenter__()
            await self._client.subscribe(f"{PREFIX}/+/events", qos=_QOS)
        self._reading = asyncio.create_task(self._read(), name="replies")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        with contextlib.suppress(aiomqtt.MqttError):  # the broker is gone already
            await self._client.__aexit__(kind, error, trace)

    async def publish(self, agent: str, channel: Channel, payload: str) -> None:
        """Publish at QoS 1 and return when the broker has it. Raises Unreachable when it has not."""
        with _told(self.address):
            await self._client.publish(topic(agent, channel), payload, qos=_QOS, timeout=PUBLISH_TIMEOUT_S)

    async def reply(self, agent: str, event_id: str) -> dict[str, Any]:
        """Return the reply event to a command, also one that came earlier in this connection.

        Bound the wait with `asyncio.timeout`. Raises Unreachable when the connection is lost first.
        """
        return await asyncio.shield(self._reply(agent, event_id))

    def _reply(self, agent: str, event_id: str) -> asyncio.Future[dict[str, Any]]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        return self._replies.setdefault((agent, event_id), future)

    async def _read(self) -> None:
        try:
            async for message in self._client.messages:
                event = json.loads(_bytes(message))
                if event.get("type") == "reply":
                    waiting = self._reply(parse_topic(message.topic.value)[0], event["reply_to"])
                    if not waiting.done():
                        waiting.set_result(event)
        except aiomqtt.MqttError as error:
            for waiting in self._replies.values():
                if not waiting.done():
                    waiting.set_exception(Unreachable(f"broker {self.address.shown}: {error}"))


async def require_broker(url: str, certificates: Certificates = NO_CERTIFICATES) -> None:
    """Connect once, and leave. Raises Unreachable when nobody answers or the user is refused."""
    async with Peer(url, certificates):
        pass


@contextlib.contextmanager
def _told(address: Address) -> Iterator[None]:
    """Turn an error of the library into ours, with the broker's address."""
    try:
        yield
    except aiomqtt.MqttError as error:
        raise _explained(address, error) from error


def _explained(address: Address, error: aiomqtt.MqttError) -> Unreachable:
    if _is_refusal(error):
        way_out = f"it refuses user {address.username!r}: check user and password in bus.url"
        return Unreachable(f"broker {address.shown}: {way_out}")
    return Unreachable(f"broker {address.shown}: {error} (is it running? bus.url names it)")


def _is_refusal(error: aiomqtt.MqttError) -> bool:
    if not isinstance(error, MqttConnectError):
        return False
    code = error.rc if isinstance(error.rc, int) else getattr(error.rc, "value", None)
    return code in _REFUSED


def _inbound(message: aiomqtt.Message) -> Inbound | None:
    """Return the message, or None for a topic that is not ours to read.

    The broker decides what it sends: a session may hold subscriptions that this program never made.
    """
    with contextlib.suppress(ValueError):
        agent, channel = parse_topic(message.topic.value)
        if channel in INBOUND:
            return Inbound(agent, channel, _bytes(message))
    log.warning("message on a topic that is not read, dropped", topic=message.topic.value)
    return None


def _waiting(client: aiomqtt.Client, size: int) -> Iterator[aiomqtt.Message]:
    """Yield the messages that are here already, up to a batch; `size` is what the batch has before."""
    queue = client._queue  # its own iterator makes a task for each message
    for _ in range(min(queue.qsize(), _BATCH - 1)):
        if size > _BATCH_BYTES:
            return
        message = queue.get_nowait()
        size += len(message.payload)
        yield message


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _bytes(message: aiomqtt.Message) -> bytes:
    return message.payload if isinstance(message.payload, bytes) else str(message.payload).encode()


def _client(address: Address, tls: ssl.SSLContext | None, **settings: Any) -> aiomqtt.Client:
    return aiomqtt.Client(
        address.host,
        address.port,
        username=address.username,
        password=address.password,
        keepalive=KEEPALIVE_S,
        tls_context=tls,
        **settings,
    )


def _offline() -> str:
    return StatusPayload(ts=rfc3339(now_ms()), state="offline").model_dump_json()
