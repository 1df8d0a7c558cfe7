"""A live server of the experiment's own, for as long as a part needs one."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from learner.serving import discard, server_command, wait_until_ready
from policies.config import ServerConfig
from policies.errors import Unreachable

NAME = "experiment"
_START_S, _END_S = 600.0, 30.0


@dataclass(frozen=True)
class Server:
    """Where it answers, and where its live weights are."""

    url: str
    arena: Path


@contextmanager
def serving(model_dir: Path) -> Iterator[Server]:
    """Serve a checkpoint with live weights and without a prefix cache, so that every answer is computed.

    Raises Unreachable when the server does not start; the last line of its log says why.
    """
    port = _free_port()
    arena = Path("/dev/shm") / f"heedloop-experiment-{secrets.token_hex(4)}"
    config = ServerConfig(model=NAME, prefix_cache="none")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        argv, environment = server_command(config, model_dir, arena, Path(folder) / "versions", port)
        with log.open("wb") as said:
            process = subprocess.Popen(
                argv, env=environment, stdout=said, stderr=said, start_new_session=True
            )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url, _START_S, lambda: process.poll() is None)
            yield Server(url, arena)
        except Unreachable as error:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise Unreachable(f"{error}: {lines[-1] if lines else 'its log is empty'}") from error
        finally:
            _end(process)
            discard(arena)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
