"""A whole running system for benchmarks: `run.py up` in a state folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store import state
from store.database import open_read_only

RUN = Path(__file__).parents[1] / "run.py"
_START_S = 400.0


@contextmanager
def running(home: Path, **settings: str) -> Iterator[int]:
    """Run the whole system with settings like `STEERING__AUTO="true"`; yields the learner's process id."""
    with (home / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(RUN), "up"],
            env=environment(home, **settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_S
        while not (known(home, "learner") or {}).get("ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the system did not start; see {home / 'up.log'}")
            time.sleep(0.5)
        yield int(known(home, "learner")["pid"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def known(home: Path, name: str) -> Any:
    """Return a named value of the store, None before there is one."""
    if not (home / "heedloop.db").exists():
        return None
    store = open_read_only(home)
    try:
        return state.get(store, name)
    finally:
        store.close()


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return the environment for commands on this state folder."""
    ours = {f"HEEDLOOP_{name}": value for name, value in settings.items()}
    return {**os.environ, "HEEDLOOP_HOME": str(home), **ours}
