"""The thread of a publisher: takes records from the spool to the broker, however often it takes."""

from __future__ import annotations

import logging
import os
import random
import selectors
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from agent.address import NO_CERTIFICATES, Address, Certificates, tls_context
from agent.spool import Record, Spool
from policies.topics import PREFIX

log = logging.getLogger("heedloop.publish")

WINDOW = 20
"""Records that are sent and not yet acknowledged: what mosquitto takes by default."""
SYNC_S = 1.0
KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
_BACKOFF_S = (0.25, 15.0)


class Delivery:
    """Delivers what is in a spool until it is stopped. `address` is asked for at each connect.

    A record is its channel, a tab, and the payload. `state`: connecting | connected | why it waits.
    """

    def __init__(
        self,
        address: Callable[[], Address],
        agent: str,
        spool: Spool,
        certificates: Certificates = NO_CERTIFICATES,
    ) -> None:
        self.state = "connecting"
        self._address = address
        self._agent = agent
        self._spool = spool
        self._certificates = certificates
        self._unanswered: dict[int, Record] = {}
        self._again: list[Record] = []
        self._delivered = 0
        self._until: float | None = None
        self._synced = time.monotonic()
        self._ear, self._mouth = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="heedloop-publish", daemon=True)
        self._thread.start()

    def rouse(self) -> None:
        """Say that there is something new. Never blocks."""
        try:
            os.write(self._mouth, b"!")
        except BlockingIOError:  # it is full of calls already
            return

    def stop(self, timeout: float) -> bool:
        """Go on for `timeout` seconds at most to deliver what waits. Returns False where it hangs."""
        self._until = time.monotonic() + timeout
        self.rouse()
        self._thread.join(timeout + 0.5)
        if self._thread.is_alive():  # in the middle of a connect
            return False
        os.close(self._ear)
        os.close(self._mouth)
        return True

    def _run(self) -> None:
        delay, said = _BACKOFF_S[0], ""
        while not self._finished():
            delivered = self._delivered
            try:
                self._session()
            except Exception as error:  # of socket, TLS or MQTT: whatever it is, it is tried again
                if self._delivered > delivered:
                    delay, said = _BACKOFF_S[0], ""
                if said != str(error):
                    log.warning("records wait on disk: %s", error)
                self.state = said = str(error)
            self._again = [*self._unanswered.values(), *self._again]
            self._unanswered = {}
            self._pause(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _BACKOFF_S[1])

    def _finished(self) -> bool:
        until = self._until
        return until is not None and (time.monotonic() > until or not self._spool.waiting)

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; the end of the agent's patience ends it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._finished():
            self._sync()
            time.sleep(0.05)

    def _session(self) -> None:
        """Hold one connection until it is lost (raises why) or nothing is left to do."""
        address = self._address()
        client = self._client(address)
        try:
            client.connect(address.host, address.port, KEEPALIVE_S)
        except OSError as error:
            raise ConnectionError(f"broker {address.shown}: {error}") from error
        patience = time.monotonic() + CONNECT_TIMEOUT_S
        try:
            while not self._finished():
                self._exchange(client, address)
                if client.is_connected():
                    self.state = "connected"
                    self._fill(client)
                elif time.monotonic() > patience:
                    raise TimeoutError(f"broker {address.shown}: it takes the connection but does not answer")
        finally:
            client.disconnect()

    def _client(self, address: Address) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        tls = tls_context(address, self._certificates)
        if tls is not None:
            client.tls_set_context(tls)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(WINDOW)

        def refuse(reason: Any) -> NoReturn:
            raise ConnectionRefusedError(f"broker {address.shown}: {reason}: check user and password")

        def on_connect(_: object, __: object, ___: object, reason: ReasonCode, ____: object) -> None:
            if reason.is_failure:
                refuse(reason)

        def on_publish(_: object, __: object, number: int, ___: object, ____: object) -> None:
            record = self._unanswered.pop(number, None)
            if record is not None:
                self._spool.done(record)
                self._delivered += 1

        client.on_connect = on_connect
        client.on_publish = on_publish
        return client

    def _exchange(self, client: mqtt.Client, address: Address) -> None:
        """Wait for the broker or a call, and let the library read and write."""
        connection = client.socket()
        if connection is None:
            raise ConnectionError(f"broker {address.shown}: connection lost")
        with selectors.DefaultSelector() as selector:
            writes = selectors.EVENT_WRITE if client.want_write() else 0
            selector.register(connection, selectors.EVENT_READ | writes)
            selector.register(self._ear, selectors.EVENT_READ)
            ready = {key.fileobj: events for key, events in selector.select(0.5)}
        if self._ear in ready:
            os.read(self._ear, 4096)
        if ready.get(connection, 0) & selectors.EVENT_READ:
            client.loop_read()
            while isinstance(connection, ssl.SSLSocket) and client.socket() and connection.pending():
                client.loop_read()
        if client.want_write():
            client.loop_write()
        client.loop_misc()
        self._sync()

    def _fill(self, client: mqtt.Client) -> None:
        while len(self._unanswered) < WINDOW:
            record = self._again.pop(0) if self._again else self._spool.take()
            if record is None:
                return
            channel, _, payload = record.content.partition(b"\t")
            name = f"{PREFIX}/{self._agent}/{channel.decode()}"
            self._unanswered[client.publish(name, payload, qos=1).mid] = record

    def _sync(self) -> None:
        if time.monotonic() - self._synced > SYNC_S:
            self._synced = time.monotonic()
            self._spool.sync()
