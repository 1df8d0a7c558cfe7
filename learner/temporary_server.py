"""A live server for the time of a block: what `doctor`, experiments and tests ask."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from learner.live.folder import discard
from learner.serving import served_name, server_command, wait_until_ready
from policies.config import ServerConfig
from policies.errors import ConfigError, GuardRefused, Unreachable, UnsupportedModel
from policies.urls import base_url

SHARED = Path("/dev/shm")
_STOP_S = 20.0
_LONGEST = 400
_ERROR = re.compile(r"(?:^|\] )([\w.]*Error: (.*))")
_OURS = tuple(f"{kind.__name__}: " for kind in (ConfigError, UnsupportedModel, GuardRefused, Unreachable))


@dataclass(frozen=True)
class TemporaryServer:
    """A server that answers: `name` is the model name of requests, `pid` the process to signal."""

    url: str
    name: str
    arena: Path
    log: Path
    pid: int


@contextmanager
def temporary_server(
    config: ServerConfig,
    model_dir: Path,
    arena: Path,
    folder: Path,
    versions: Path | None = None,
    answers: Path | None = None,
) -> Iterator[TemporaryServer]:
    """Serve a checkpoint on a free port, with its log in `folder`; on the base where no `versions` are given.

    Afterwards nothing of the server is left. Raises Unreachable, with the reason from its log, when it does
    not start.
    """
    port, log = free_port(config.host), folder / "vllm.log"
    argv, env = server_command(config, model_dir, arena, versions or folder / "versions", port, answers)
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True, cwd=folder)
    url = base_url(config.host, port)
    try:
        _wait(url, config, process, log)
        yield TemporaryServer(url, served_name(config), arena, log, process.pid)
    finally:
        _stop(process)
        discard(arena, _STOP_S)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def reason(log: str) -> str | None:
    """Why a server did not start, from its log: in our own words if they are there, else its first error."""
    lines = log.splitlines()
    for line in lines:
        for kind in _OURS:
            if kind in line:
                return line.partition(kind)[2]
    for at, line in enumerate(lines):
        if found := _ERROR.search(line):
            more = [text for text in lines[at + 1 : at + 3] if text.startswith("  ") or not found[2]]
            return f"the server did not start: {' '.join([found[1], *more])}"[:_LONGEST]
    return None


def _wait(url: str, config: ServerConfig, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        wait_until_ready(url, config.start_timeout_s, lambda: process.poll() is None)
    except Unreachable as error:
        raise Unreachable(reason(log.read_text(errors="replace")) or str(error)) from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its ranks: they are the process group that we made."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
