"""Servers under test: live and stock, from one command line."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from learner.serving import server_command, wait_until_ready
from learner.temporary_server import free_port
from policies.config import ServerConfig
from policies.errors import Unreachable

NAME = "m"
START_S = 300.0
_OURS = ("--load-format", "--model-loader-extra-config", "--middleware", "--scheduler-cls")
"""Options with a value that only a live server has."""


@dataclass(frozen=True)
class Server:
    """A running server; `arena` is where its live weights are, of a stock one nowhere."""

    url: str
    arena: Path
    pid: int


@contextmanager
def running(
    model_dir: Path,
    folder: Path,
    *,
    live: bool,
    extra: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server for the time of the block. Raises Unreachable when it does not start; its log says why."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    arena = Path("/dev/shm") / f"heedloop-benchmark-{os.getpid()}-{port}"
    config = ServerConfig(model=NAME, extra_args=tuple(extra))
    argv, whole = server_command(config, model_dir, arena, folder / "versions", port)
    if not live:
        argv = stock(argv)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            argv, env={**whole, **(environment or {})}, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, START_S, lambda: process.poll() is None)
        yield Server(url, arena, process.pid)
    except Unreachable as error:
        said = (folder / "server.log").read_text(errors="replace").strip().splitlines()
        raise Unreachable(f"{error}: {said[-1] if said else 'nothing'}") from error
    finally:
        _end(process)


def stock(argv: Sequence[str]) -> list[str]:
    """Return the same command line without what makes a server live."""
    kept: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument in _OURS:
            next(arguments)
        else:
            kept.append(argument)
    return kept


def resident_bytes(pid: int) -> int:
    """Return the private resident memory of a process and its descendants; shared memory is not counted."""
    total = 0
    for process in _tree(pid):
        status = Path(f"/proc/{process}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        total += int(fields.get("RssAnon", "0 kB").split()[0]) * 1024
    return total


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(process for child in children for process in _tree(int(child)))]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
