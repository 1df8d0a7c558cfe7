"""The system under demonstration: `run.py up` in a state folder of its own, looked at from outside."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from agent.launcher import tied
from policies.errors import ConfigError, HeedloopError, Unreachable
from store import state
from store.database import Store, open_read_only

READY_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0


class System:
    """A running `run.py up`, stopped at the end of its `async with` block; `store` reads what it wrote."""

    def __init__(self, process: Process, home: Path, log: Path) -> None:
        self._process, self._log = process, log
        self.home = home
        self.store: Store | None = None

    @classmethod
    async def start(cls, entry: Path, home: Path, settings: dict[str, str]) -> System:
        """Start a fresh system: what an earlier demo left under `home` is removed."""
        if home.exists():
            shutil.rmtree(home)
        home.mkdir(mode=0o700, parents=True)
        log = home / "up.log"
        environment = {**os.environ, **settings, "HEEDLOOP_HOME": str(home), "PYTHONSAFEPATH": "1"}
        with log.open("wb") as output:
            command = tied([sys.executable, str(entry), "up"])
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdin=DEVNULL, stdout=output, stderr=output
            )
        return cls(process, home, log)

    async def __aenter__(self) -> System:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; how it ends must not hide what went wrong before."""
        try:
            await self.stop()
        except HeedloopError:
            if error is None:
                raise

    async def wait_ready(self) -> None:
        """Return once `/readyz` says so. Raises with the system's own last line when it ends before."""
        async with asyncio.timeout(READY_TIMEOUT_S), httpx.AsyncClient() as http:
            while True:
                self._raise_if_ended()
                if await self._is_ready(http):
                    return
                await asyncio.sleep(0.25)

    def known(self, name: str) -> Any:
        """Return a named fact of the running system from its store."""
        return state.get(self.reader, name)

    @property
    def reader(self) -> Store:
        """Return the read-only store."""
        if self.store is None:
            self.store = open_read_only(self.home)
        return self.store

    async def stop(self) -> None:
        """End the system with SIGTERM, and wait for it. Raises when it does not end well."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise HeedloopError(
                f"`run.py up` did not end within {STOP_TIMEOUT_S:.0f} s: see {self._log}"
            ) from None
        if code != 0:
            raise HeedloopError(f"`run.py up` ended with exit code {code}: {self._last_line()}")

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            url = self.known("http_url")
            return url is not None and (await http.get(f"{url}/readyz")).status_code == 200
        except (ConfigError, httpx.HTTPError):  # no store yet, or nobody listens yet
            return False

    def _raise_if_ended(self) -> None:
        if self._process.returncode is not None:
            raise Unreachable(
                f"`run.py up` ended (exit code {self._process.returncode}): {self._last_line()}"
            )

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


async def live_hash(arena: str) -> str:
    """Return the hash of all live bytes, read by a separate process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "learner.live.fingerprint", arena, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise Unreachable(f"the live weights at {arena} could not be read (exit code {process.returncode})")
    return output.decode().split()[-1]
