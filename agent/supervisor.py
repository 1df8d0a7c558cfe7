"""Keep the child processes alive: start, watch, restart with backoff, drain. Any of them may die at any time.

Children die with the supervisor, live in process groups of their own, and write to
logs/<name>.log. Their states are rows of the table `processes`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from agent.child import Backoff, Child, ChildSpec
from agent.childlog import ChildLog
from agent.reaper import Reaper
from agent.systemd import notify, ping_watchdog
from policies.errors import Unreachable
from store.database import Store
from store.processes import forget_processes

__all__ = ["Backoff", "ChildSpec", "Supervisor", "run"]

log = structlog.get_logger()

_TRIM_EVERY_S = 30.0
_TELL_EVERY_S = 15.0


class Supervisor:
    """Runs children while its `async with` block lasts; leaving the block drains them, the last spec first.

    Make it inside the event loop; that drops the rows of an earlier run. `logs` is the folder of the
    children's output.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        store: Store,
        logs: Path,
        *,
        backoff: Backoff | None = None,
        drain_s: float = 45.0,
    ) -> None:
        names = [spec.name for spec in specs]
        unknown = {name for spec in specs for name in spec.after} - set(names)
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"names of children must be unique and known: {names}, after {sorted(unknown)}")
        forget_processes(store)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """pending, or the error that ends everything: a child that cannot run as configured"""
        self._reaper = Reaper()
        self._children = {
            spec.name: Child(
                spec, store, ChildLog(logs / f"{spec.name}.log"), backoff or Backoff(), self._reaper
            )
            for spec in specs
        }
        self._drain_s = drain_s
        self._tasks: list[asyncio.Task[None]] = []
        self._hurry = asyncio.Event()
        self.stopping = False

    async def __aenter__(self) -> Supervisor:
        for name, kept in self._children.items():
            kept.record("starting")
            self._tasks.append(asyncio.create_task(self._keep(kept), name=f"keep {name}"))
        self._tasks.append(asyncio.create_task(self._trim_logs(), name="trim logs"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the children, in the order of their specs."""
        return tuple(self._children)

    def pid(self, name: str) -> int | None:
        """Return the process id of a running child, else None."""
        return self._children[name].pid

    def is_ready(self, name: str) -> bool:
        """Say whether a child is ready now."""
        return self._children[name].is_ready.is_set()

    async def wait_ready(self, name: str, timeout: float) -> None:
        """Wait until a child is ready. Raises its clear error, or Unreachable after `timeout` seconds."""
        kept = self._children[name]
        waiting = asyncio.create_task(kept.is_ready.wait())
        try:
            either: set[asyncio.Future[Any]] = {waiting, self.failed}
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell_of_waiting(name))
                await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                telling.cancel()
            if self.failed.done():
                self.failed.result()
            if not waiting.done():
                last = kept.detail or "still starting"
                raise Unreachable(f"{name} not ready after {timeout:g} s: {last} (log: {kept.output.path})")
        finally:
            waiting.cancel()

    async def _tell_of_waiting(self, name: str) -> None:
        """Say now and then that a child is still starting: a large model takes minutes."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            waited = round(time.monotonic() - began)
            log.info("still starting", child=name, seconds=waited, log=str(self._children[name].output.path))

    async def stop(self) -> list[str]:
        """Drain all children, the last spec first, in one bounded time; return the names that hung.

        A child that does not end in its time after SIGTERM is killed with its process group.
        """
        if self.stopping:
            return []
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        deadline = time.monotonic() + self._drain_s
        hung = []
        for kept in reversed(self._children.values()):
            budget = min(kept.spec.stop_within_s, max(0.0, deadline - time.monotonic()))
            if not await kept.stop(budget, self._hurry):
                hung.append(kept.spec.name)
                log.error("child hung and was killed", child=kept.spec.name, log=str(kept.output.path))
        self._reaper.close()
        return hung

    def hurry(self) -> None:
        """Make a drain that is under way kill what has not ended yet."""
        self._hurry.set()

    async def _keep(self, kept: Child) -> None:
        for other in kept.spec.after:
            await self._children[other].was_ready.wait()
        try:
            await kept.keep()
        except Exception as error:
            if self.failed.done():
                raise
            self.failed.set_exception(error)  # `run` and `wait_ready` hand it on
            self.failed.exception()  # counts as seen, for a caller that leaves before it asks

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            for name, kept in self._children.items():
                await _trim(name, kept.output)


async def _trim(name: str, output: ChildLog) -> None:
    try:
        if await asyncio.to_thread(output.trim):
            log.info("log moved aside", child=name, to=f"{output.path}.1")
    except OSError as error:  # a full disk: the next look may find room
        log.warning("log not moved aside", child=name, reason=str(error))


async def run(
    supervisor: Supervisor, on_ready: Callable[[], Awaitable[None]], *, ready_within_s: float = 600.0
) -> int:
    """Run until SIGTERM or SIGINT (a second one kills what still drains); return the exit code.

    0 after SIGTERM, 130 after SIGINT, 1 when a child hung in the drain. Raises the error of a child that
    cannot run as configured, and Unreachable when one is not ready in time after the one before it.
    """
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(number: signal.Signals) -> None:
        if received.done() or supervisor.stopping:
            supervisor.hurry()
        else:
            received.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    pinging = asyncio.create_task(ping_watchdog(), name="watchdog")
    try:
        async with supervisor:
            await _until(received, work(supervisor, on_ready, ready_within_s))
            notify("STOPPING=1")
            log.info("stopping", signal=received.result().name)
            hung = await supervisor.stop()
            return 1 if hung else 130 if received.result() == signal.SIGINT else 0
    finally:
        pinging.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def work(supervisor: Supervisor, on_ready: Callable[[], Awaitable[None]], within_s: float) -> None:
    """Wait for all children, call `on_ready`, say so to systemd; then only a child that cannot run ends it.

    Each child has `within_s` of its own after the one before: a learner only begins when its server is there.
    Raises Unreachable for one that is not ready then.
    """
    for name in supervisor.names:
        await supervisor.wait_ready(name, within_s)
    await on_ready()
    notify("READY=1")
    await supervisor.failed


async def _until(received: asyncio.Future[signal.Signals], work: Awaitable[None]) -> None:
    """Do `work`, which only ends by raising, until a signal is received."""
    working = asyncio.ensure_future(work)
    try:
        either: set[asyncio.Future[Any]] = {received, working}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
