"""`run.py up` as it runs on a machine: under something that starts it again when it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from agent.launcher import tied
from learner.live.client import LiveWeights
from policies.errors import HeedloopError
from store import state, versions
from store.database import open_read_only
from store.versions import Version

RUN = Path(__file__).parents[2] / "run.py"
CHILDREN = ("vllm", "loop", "learner")
_CLOCK = Path(__file__).parent / "clock"
_SETTINGS = {
    "TRAINING__USES_PER_EXAMPLE": "1",
    "TRAINING__START_AFTER_S": "0.5",
    "TRAINING__MAX_DECISION_TOKENS": "16",
    "GUARD__EVERY_STEPS": "4",
    "GUARD__NLL_INCREASE": "100",
    "GUARD__FACTS_DROP": "0.99",
    "GUARD__FOLLOW_DROP": "0.99",
    "GUARD__OWN_DROP": "0.99",
    "GUARD__KL_TO_BASE": "1000",
    "GUARD__LEAK": "1000",
    "GUARD__REPETITION": "1000",
    "GUARD__LENGTH_CHANGE": "1000",
    "GUARD__ENTROPY_CHANGE": "1000",
    "GUARD__NOISE_CHECKS": "0",
    "TRUST__DEFAULT": "trusted",
    "SERVER__MAX_MODEL_LEN": "512",
    "SERVER__START_TIMEOUT_S": "900",
    "LABELS__MEANING": "off",
    "UI__ENABLED": "true",
}
"""Small rounds, and a guard that lets a random model learn: what it learns is not the point here."""


class System:
    """One running system. `clock` is the file by which its wall clock is set."""

    def __init__(self, home: Path, model: Path, broker: str | None, watched: Path, notes: Path) -> None:
        self.home, self.output, self.clock = home, notes / "up.log", notes / "clock"
        self.environment = {
            **os.environ,
            **{f"HEEDLOOP_{key}": value for key, value in _SETTINGS.items()},
            "HEEDLOOP_HOME": str(home),
            "HEEDLOOP_SERVER__MODEL": str(model),
            "HEEDLOOP_SOURCE__WATCH": f'["{watched}"]',
            "PYTHONSAFEPATH": "1",
        }
        if broker is not None:
            self.environment["HEEDLOOP_BUS__URL"] = broker
        self.move_clock(0)
        self.environment |= {"PYTHONPATH": str(_CLOCK), "HEEDLOOP_BENCHMARK_CLOCK": str(self.clock)}
        self.restarts = 0
        """how often it had ended by itself, and `keep` started it again"""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, as systemd does at boot and after a failure."""
        with self.output.open("ab") as output:
            command = tied([sys.executable, str(RUN), "up"])
            self._process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)

    @property
    def ended(self) -> str | None:
        """Return its last words where it does not run, else None."""
        if self._process is not None and self._process.poll() is None:
            return None
        return (self.output.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]

    def keep(self) -> bool:
        """Start it again where it has ended; returns whether it had."""
        if self._process is not None and self._process.poll() is None:
            return False
        self.restarts += self._process is not None
        self.start()
        return True

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> list[int]:
        """Kill the supervisor with -9, and wait for its children to follow it. Returns all their pids."""
        assert self._process is not None
        pids = [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + 20
        while any(map(is_alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return pids

    def stop(self) -> int:
        """End it with SIGTERM; returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def move_clock(self, seconds: int) -> None:
        """Let the wall clock of its processes jump to so many seconds from the machine's."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self.clock)

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        """Ask its store."""
        store = open_read_only(self.home)
        try:
            return store.rows(sql, parameters)
        finally:
            store.close()

    def one(self, sql: str, *parameters: object) -> Any:
        """Return the first column of the first row."""
        found = self.rows(sql, *parameters)
        return found[0][0] if found else None

    def known(self, name: str) -> Any:
        """Return a named fact of its store."""
        store = open_read_only(self.home)
        try:
            return state.get(store, name)
        finally:
            store.close()

    def version(self) -> Version | None:
        """Return the version in force."""
        store = open_read_only(self.home)
        try:
            return versions.in_force(store)
        finally:
            store.close()

    def child(self, name: str) -> int | None:
        """Return the process id of a child as the store has it."""
        pid = self.one("SELECT pid FROM processes WHERE name = ?", name)
        return None if pid is None else int(pid)

    def is_ready(self) -> bool:
        """Ask `/readyz`."""
        with contextlib.suppress(HeedloopError, httpx.HTTPError):
            url = self.known("http_url")
            return url is not None and httpx.get(f"{url}/readyz", timeout=3).status_code == httpx.codes.OK
        return False

    def answers(self) -> bool:
        """Ask the model for a few tokens."""
        with contextlib.suppress(HeedloopError, httpx.HTTPError):
            serving = self.known("serving")
            body = {"model": serving["model_name"], "prompt": "A lake is", "max_tokens": 4}
            reply = httpx.post(f"{serving['url']}/v1/completions", json=body, timeout=10)
            return reply.status_code == httpx.codes.OK
        return False

    def weights_agree(self) -> str | None:
        """Compare the live bytes with the version in force. Returns what differs, None where nothing does."""
        version = self.version()
        assert version is not None
        live = LiveWeights.attach(Path(self.known("serving")["arena"]), exclusive=False)
        try:
            position, fingerprint = live.position(), live.fingerprint()
        finally:
            live.close()
        if (position.version, position.step) != (version.id, version.last_step or 0):
            return f"live is {position.version} step {position.step}, store {version.id} {version.last_step}"
        return None if fingerprint == version.fingerprint else f"bytes of {version.id} differ"

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a child; returns its process id."""
        pid = self.child(name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, number)
        return pid


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and was not collected yet does not."""
    return process_state(pid) not in ("", "Z")


def process_state(pid: int) -> str:
    """Return the kernel's letter for the state of a process, "" where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
