"""The always-on loop: bus and logs in, events and status out, HTTP beside them. It owns all ingest writes."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from agent import http
from agent.address import Certificates
from agent.answers import follow_answers
from agent.bus import Bus
from agent.credentials import broker_url, http_token
from agent.flow import Flow
from agent.housekeeping import keep_house
from agent.http_guard import Guard
from agent.inbound import Inbound
from agent.ingest import Ingest
from agent.language import detect_language
from agent.listening import listen
from agent.metrics import Meters
from agent.publishing import publish_events, publish_status, publish_waiting
from agent.second_opinions import give_second_opinions
from agent.sources.piece import Piece
from agent.sources.tail import Tail
from agent.writer import Writer
from policies.config import BusConfig, Config
from policies.errors import ConfigError, HeedloopError
from policies.parsing import rejected
from policies.urls import base_url
from store import offsets, state
from store.clock import new_id, now_ms
from store.database import Store
from store.home import ANSWERS, home_of
from store.wakeup import Listener

log = structlog.get_logger(__name__)

_WARM_UP = "The first text costs a second, for then the languages are loaded."
CANCEL_AGAIN_S = 3.0
DRAIN_S = 5.0
"""Seconds that a drain may take after SIGTERM, before what is left is cut."""


async def run_loop(config: Config) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises ConfigError for a setting that cannot be used and Unreachable for a broker that refuses us.
    """
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    gc.freeze()  # a full collection need not look at all the modules each time: it holds up everything
    home = home_of(config)
    with listen(config.http.host, config.http.port, "http") as listening:
        url = base_url(config.http.host, listening.getsockname()[1])
        writer = await Writer.open(home)
        try:
            await writer.run(lambda _: detect_language(_WARM_UP))
            loop = Loop(config, writer, await writer.run(_session_name))
            await writer.run(_announce, config.bus.agent, url)
            guard = Guard(http_token(home), config.limits, {config.http.host})
            app = http.make_app(home, lambda: loop.bus.state, guard, loop.meters, loop.orders())
            await loop.run(stop, http.serve(app, listening))
        finally:
            await writer.close()
    log.info("loop stopped")


class Loop:
    """The tasks of the loop process, over one writer and one bus session."""

    def __init__(self, config: Config, writer: Writer, session: str) -> None:
        self.config = config
        self.home = home_of(config)
        self.writer = writer
        self.bus = Bus(bus_url(config, self.home), config.bus.agent, session, certificates_of(config.bus))
        self.ingest = Ingest(writer.store, config, detect_language)
        self.meters = Meters(self.home, lambda: self.bus.state)
        self._flow = Flow(config.limits)
        self._wake = asyncio.Event()

    def orders(self) -> http.Orders:
        """Return what HTTP may do here."""
        agent, ingest, run = self.config.bus.agent, self.ingest, self.writer.run

        async def correct(payload: bytes) -> str:
            return await run(lambda _: ingest.correction(agent, payload, "http"))

        async def command(payload: dict[str, Any]) -> str:
            return await run(lambda _: ingest.command(agent, payload, "http"))

        async def bury(reason: str, payload: bytes) -> None:
            letter = rejected("request", reason, payload)
            await run(lambda _: ingest.keep(agent, [], [letter], "http"))

        return http.Orders(correct, command, bury)

    async def run(self, stop: asyncio.Event, serving: Coroutine[Any, Any, None]) -> None:
        """Run every task until `stop` is set or one of them fails; then drain."""
        agent = self.config.bus.agent
        tasks: dict[str, Coroutine[Any, Any, Any]] = {
            "bus": self.bus.run(self._take_messages),
            "logs": self._follow_logs(),
            "answers": follow_answers(self.writer, self.home / ANSWERS),
            "events": publish_events(self.bus, self.writer, agent, self._wake),
            "status": publish_status(self.bus, self.writer, agent),
            "opinions": give_second_opinions(self.config, self.writer, self.ingest),
            "housekeeping": keep_house(self.config.retention, self.writer),
            "http": serving,
        }
        try:
            with self._woken():
                async with asyncio.TaskGroup() as group:
                    started = {name: group.create_task(work, name=name) for name, work in tasks.items()}
                    await stop.wait()
                    log.info("draining")
                    await self._drain(started)
        except BaseExceptionGroup as errors:
            raise _clear(errors) from errors

    async def _drain(self, started: dict[str, asyncio.Task[Any]]) -> None:
        """Stop listening, publish what is queued, then say goodbye on the bus."""
        early = ("logs", "answers", "opinions", "housekeeping", "events", "status")
        await _end(started[name] for name in early)
        if self.bus.connected:
            try:
                async with asyncio.timeout(DRAIN_S):
                    while await publish_waiting(self.bus, self.writer, self.config.bus.agent):
                        pass
            except TimeoutError:
                log.warning("not every event could be published, they stay queued")
        await _end(started[name] for name in ("bus", "http"))

    async def _take_messages(self, batch: Sequence[Inbound]) -> None:
        good, over = self._flow.split(batch, now_ms())
        if over:
            log.warning("messages over a limit, kept as dead letters", count=len(over), why=over[0].reason)
            await self.writer.run(lambda _: self.ingest.refuse(over, "mqtt"))
        if good:
            with self.meters.ingesting("bus"):
                await self.writer.run(lambda _: self.ingest.messages(good, "mqtt"))

    async def _follow_logs(self) -> None:
        known = await self.writer.run(offsets.known)
        source = self.config.source
        await Tail(source.watch, source.poll_s, known, self._take_piece).run()

    async def _take_piece(self, piece: Piece) -> None:
        with self.meters.ingesting("log"):
            await self.writer.run(lambda _: self.ingest.piece(self.config.bus.agent, piece))

    @contextmanager
    def _woken(self) -> Iterator[None]:
        """Let other processes wake the publisher."""
        listener = Listener(self.home, "loop")

        def wake() -> None:
            listener.drain()
            self._wake.set()

        asyncio.get_running_loop().add_reader(listener.fileno(), wake)
        try:
            yield
        finally:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    One request may be lost: before Python 3.12 `asyncio.wait_for`, which aiomqtt uses, returns a result that
    comes in the same moment (cpython issue 86296). Patient, for a goodbye takes its time.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


def certificates_of(bus: BusConfig) -> Certificates:
    """Return the certificates of the configuration."""
    return Certificates(bus.ca_file, bus.certificate, bus.key)


def bus_url(config: Config, home: Path) -> str:
    """Return the broker to use: the configured one, else the embedded one on `bus.port`."""
    if config.bus.url is not None:
        return config.bus.url
    if config.bus.port == 0:
        raise ConfigError(
            "neither bus.url nor bus.port is set: the loop does not know its broker (`run.py up` does)"
        )
    return broker_url(home, config.bus.port)


def _session_name(store: Store) -> str:
    """Return the name of this store's session at the broker, the same after every restart."""
    name = state.get(store, "bus_session")
    if name is None:
        name = f"heedloop-{new_id()}"
        with store.write() as connection:
            state.put(connection, "bus_session", name)
    return str(name)


def _announce(store: Store, agent: str, http_url: str) -> None:
    with store.write() as connection:
        state.put(connection, "agent", agent)
        state.put(connection, "http_url", http_url)


def _clear(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the user's error out of a group where that is all there is, else the group."""
    known, others = errors.split(HeedloopError)
    if known is None or others is not None:
        return errors
    error: BaseException = known
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
