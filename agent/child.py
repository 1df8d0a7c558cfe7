"""One supervised child process: start it, follow it to its end, start it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from agent.childlog import ChildLog
from agent.launcher import tied
from agent.reaper import Reaper
from policies.errors import ConfigError, HeedloopError, Unreachable
from store.database import Store
from store.processes import ProcessState, record_process

log = structlog.get_logger()

_POLL_S = 0.1
_CLEAR_EXITS: dict[int, type[HeedloopError]] = {2: ConfigError, 69: Unreachable}


@dataclass(frozen=True)
class ChildSpec:
    """What to run. `ready` is asked until it says yes; without it a started child counts as ready."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_within_s: float = 300.0
    after: tuple[str, ...] = ()
    """children that must have been ready once before this one is started"""
    restart: bool = True
    nice: int = 0
    cpus: frozenset[int] = frozenset()
    """CPUs it may run on; empty: all"""
    stop_within_s: float = 15.0


@dataclass(frozen=True)
class Backoff:
    """The wait before a restart doubles from `first_s` to `longest_s`; `healthy_s` alive resets it."""

    first_s: float = 0.5
    longest_s: float = 30.0
    healthy_s: float = 60.0


class Child:
    """One child and its present process."""

    def __init__(
        self, spec: ChildSpec, store: Store, output: ChildLog, backoff: Backoff, reaper: Reaper
    ) -> None:
        self.spec = spec
        self.output = output
        self.is_ready = asyncio.Event()
        self.was_ready = asyncio.Event()
        self.detail = ""
        """how its last process ended"""
        self._store = store
        self._backoff = backoff
        self._reaper = reaper
        self._restarts = 0
        self._state: ProcessState = "starting"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def keep(self) -> None:
        """Run it, again and again. Raises its own clear error when it cannot run as configured."""
        wait_s = self._backoff.first_s
        while True:
            started = time.monotonic()
            await self._start()
            code = await self._watch()
            healthy = time.monotonic() - started >= self._backoff.healthy_s
            self.detail = self._describe(code)
            if code in _CLEAR_EXITS and self._is_first_start(healthy):
                self.record("failed")
                raise _CLEAR_EXITS[code](f"{self.spec.name}: {self.output.last_line() or self.detail}")
            if not self.spec.restart:
                self.record("stopped" if code == 0 else "failed")
                return
            wait_s = self._backoff.first_s if healthy else wait_s
            self.record("restarting")
            log.warning("child ended", child=self.spec.name, why=self.detail, restart_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._backoff.longest_s)
            self._restarts += 1

    async def stop(self, budget_s: float, hurry: asyncio.Event) -> bool:
        """End it: SIGTERM, then SIGKILL after `budget_s` or on `hurry`. False: it had to be killed."""
        self.is_ready.clear()
        if self._process is None or self._process.returncode is not None:
            if self._state != "failed":
                self.record("stopped")
            return True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        ended = asyncio.create_task(self._process.wait())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=budget_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        clean = ended.done()
        self._sweep()
        code = await ended
        self._reaper.forget(self._process.pid)
        self.detail = self._describe(code) + ("" if clean else ": it did not stop when asked")
        self.record("stopped" if clean else "failed")
        return clean

    def record(self, state: ProcessState) -> None:
        """Write its state into the store. A store that cannot be written must not stop the serving."""
        self._state = state
        try:
            record_process(self._store, self.spec.name, state, self.pid, self._restarts, self.detail)
        except sqlite3.OperationalError as error:
            log.error("cannot record the state of a child", child=self.spec.name, state=state, why=str(error))

    async def _start(self) -> None:
        spec = self.spec
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", **spec.env}
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            environment.pop(name, None)  # only the supervisor speaks to systemd
        with self.output.open() as output:
            self._process = await asyncio.create_subprocess_exec(
                *tied(spec.argv, nice=spec.nice, cpus=spec.cpus),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        self._reaper.watch(self._process.pid)
        self.record("starting")
        log.info("child started", child=spec.name, pid=self._process.pid, log=str(self.output.path))

    async def _watch(self) -> int:
        """Follow the process to its end; return its exit code (negative: the signal)."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        getting_ready = asyncio.create_task(self._get_ready())
        try:
            await asyncio.wait({ended, getting_ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and not getting_ready.result():
                log.error("child not ready in time: killed", child=self.spec.name)
                self._sweep()
            return await ended
        finally:
            getting_ready.cancel()
            ended.cancel()
            self.is_ready.clear()
            if self._process.returncode is not None:
                self._sweep()
                self._reaper.forget(self._process.pid)

    async def _get_ready(self) -> bool:
        """Ask until the child is ready; False after `ready_within_s`."""
        deadline = time.monotonic() + self.spec.ready_within_s
        while self.spec.ready is not None and not await self.spec.ready():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        self.is_ready.set()
        self.was_ready.set()
        self.record("ready")
        log.info("child ready", child=self.spec.name, pid=self.pid)
        return True

    def _is_first_start(self, healthy: bool) -> bool:
        if self.spec.ready is None:
            return self._restarts == 0 and not healthy
        return not self.was_ready.is_set()

    def _sweep(self) -> None:
        """Kill what is left of its process group: grandchildren must not outlive it."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _describe(self, code: int) -> str:
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        last = self.output.last_line()
        return f"exit code {code}: {last}" if code and last else f"exit code {code}"
