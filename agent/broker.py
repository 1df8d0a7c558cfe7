"""The embedded MQTT broker: amqtt in a process of its own, on loopback, with generated credentials.

It is there so that nothing has to be installed; its sessions and retained messages end with the process, but
what it has acknowledged and the loop has not is kept on disk and published again.
For real use point `bus.url` at mosquitto.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from amqtt.broker import Action, Broker
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import OUTGOING

from agent.credentials import AGENT, broker_url, password_file
from agent.undelivered import Undelivered
from policies.errors import ConfigError, HeedloopError
from policies.topics import INBOUND, PREFIX, Channel

__all__ = ["broker_url", "main", "serve"]

log = logging.getLogger("heedloop.broker")

SYNC_S = 1.0
"""Within so many seconds what was acknowledged is on the disk itself."""
REFUSAL_S = 0.5
"""So long a connection whose message has no room is still read and answered before it ends."""


async def serve(home: Path, port: int) -> None:
    """Run the broker until SIGTERM or SIGINT. Raises ConfigError when the port is taken."""
    _check_free(port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    undelivered = Undelivered(home)
    broker = _KeepingBroker(_config(home, port), undelivered)
    await broker.start()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SYNC_S)
        await asyncio.to_thread(undelivered.sync)
    await broker.shutdown()
    undelivered.close()


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m agent.broker --home DIR --port P`. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m agent.broker", description="the embedded MQTT broker")
    parser.add_argument("--home", type=Path, required=True, help="state folder, for the credentials")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(serve(options.home, options.port))
    except HeedloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


_SAID_BY_AGENTS = frozenset[Channel]({"turns", "corrections"})
_READ_BY_AGENTS = frozenset[Channel]({"status", "events"})


class _KeepingHandler(BrokerProtocolHandler):  # type: ignore[misc]
    """Keeps an outgoing QoS 1 message until its PUBACK comes, and sends it again on the next connection.

    amqtt itself forgets it after five seconds and when the client goes away, against MQTT-4.4.0-1: a loop
    killed between receiving and committing would lose it.
    """

    def __init__(self, plugins: Any, broker: _KeepingBroker) -> None:
        super().__init__(plugins)
        self._broker = broker
        self._refuses = False

    async def _handle_qos1_message_flow(self, app_message: Any) -> None:
        if app_message.direction != OUTGOING or self.session is None:
            if await self._takes(app_message):
                await super()._handle_qos1_message_flow(app_message)
            return
        again = app_message.publish_packet is not None
        self.session.inflight_out[app_message.packet_id] = app_message
        app_message.publish_packet = app_message.build_publish_packet(dup=again)
        await self._send_packet(app_message.publish_packet)

    async def _takes(self, message: Any) -> bool:
        """Keep a message; one for which there is no room ends the connection.

        MQTT 3.1.1 has no way to say no: its sender keeps it, and all after it, for the next connection.
        A connection closed over unread bytes is reset, and takes acknowledgements with it: so it ends later.
        """
        if not self._refuses and not await self._broker.keep(self.session, message):
            self._refuses = True
            await asyncio.sleep(REFUSAL_S)
            await self.writer.close()
        return not self._refuses

    async def handle_puback(self, puback: Any) -> None:
        if self.session is not None:
            message = self.session.inflight_out.pop(puback.variable_header.packet_id, None)
            if message is not None and not self.session.clean_session:
                self._broker.undelivered.done(message.topic, bytes(message.data))


class _KeepingBroker(Broker):  # type: ignore[misc]
    def __init__(self, config: dict[str, Any], undelivered: Undelivered) -> None:
        super().__init__(config)
        self.undelivered = undelivered
        self._listened: set[tuple[str, str]] = set()
        self._full = False

    async def _topic_filtering(self, session: Any, topic: str, action: Action) -> bool:
        """Let agents publish turns and corrections and read status and events; the owner anything.

        They share one name here, so an agent is not kept from speaking for another: mosquitto does that.
        """
        if session is None or session.username != AGENT or action == Action.RECEIVE:
            return True
        start, _, channel = topic.rpartition("/")
        prefix, _, agent = start.rpartition("/")
        allowed = _SAID_BY_AGENTS if action == Action.PUBLISH else _READ_BY_AGENTS
        return prefix == PREFIX and agent != "#" and channel in allowed

    async def keep(self, session: Any, message: Any) -> bool:
        """Keep a message to the loop before it is acknowledged. Returns False where there is no room."""
        may = await self._topic_filtering(session, topic=message.topic, action=Action.PUBLISH)
        if may and any(self._matches(message.topic, f"{PREFIX}/+/{channel}") for channel in INBOUND):
            try:
                self.undelivered.add(message.topic, bytes(message.data))
            except OSError as error:
                if not self._full:
                    log.warning("no message is taken until the loop has acknowledged others: %s", error)
                self._full = True
                return False
            self._full = False
        return True

    async def _publish_again(self, filter_: str, session: Any) -> None:
        """Publish what waits when a session that lasts listens for the first time in this broker's life."""
        if session.clean_session or (session.client_id, filter_) in self._listened:
            return
        self._listened.add((session.client_id, filter_))
        for message in self.undelivered:
            if self._matches(message.topic, filter_):
                await self._broadcast_message(None, message.topic, message.payload)

    async def _initialize_client_session(self, *connection: Any) -> Any:
        _, session = await super()._initialize_client_session(*connection)
        return _KeepingHandler(self.plugins_manager, self), session

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Any
    ) -> None:
        """Send retained messages only for a filter of this session.

        amqtt itself also sends a client that connects what every other client has subscribed to.
        """
        await self._publish_again(subscription[0], session)
        subscribed = self._subscriptions.get(subscription[0], [])
        if any(subscriber.client_id == session.client_id for subscriber, _ in subscribed):
            await super()._publish_retained_messages_for_subscription(subscription, session)


def _config(home: Path, port: int) -> dict[str, Any]:
    # With the key "plugins" absent amqtt lets anonymous clients in, and then drops their offline messages.
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {
            "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(password_file(home))}
        },
    }


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} on 127.0.0.1 cannot be used ({error.strerror}): set bus.port to another"
            ) from None


if __name__ == "__main__":
    sys.exit(main())
