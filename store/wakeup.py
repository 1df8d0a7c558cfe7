"""The tiny control channel: a datagram that says "look at the store". Losing one costs latency, not data."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Process = Literal["learner", "loop"]


def notify(home: Path, process: Process) -> bool:
    """Wake a process if it listens. Never blocks; returns False where nobody took the datagram."""
    try:
        with _unix_socket() as sender, _short(home) as folder:
            sender.sendto(b"1", f"{folder}/{process}.sock")
    except OSError:  # nobody listens, or its queue is full and it will wake anyway
        return False
    return True


class Listener:
    """The receiving end: one per process and home; a newer one takes the name over."""

    def __init__(self, home: Path, process: Process) -> None:
        self._path = home / f"{process}.sock"
        self._path.unlink(missing_ok=True)
        self._socket = _unix_socket()
        with _short(home) as folder:
            self._socket.bind(f"{folder}/{process}.sock")
        self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino

    def fileno(self) -> int:
        """Return the descriptor that becomes readable on a wake-up."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Take every waiting datagram. Returns True where there was one."""
        woken = False
        try:
            while self._socket.recv(16):
                woken = True
        except BlockingIOError:
            return woken
        return woken

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for a wake-up, and take it. Returns True when woken."""
        self._socket.settimeout(timeout)
        try:
            self._socket.recv(16)
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            self._socket.settimeout(0)
        self.drain()
        return True

    def close(self) -> None:
        """Stop listening; the name is removed unless a newer listener has it."""
        self._socket.close()
        if self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink()


def _unix_socket() -> socket.socket:
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    unix.setblocking(False)
    return unix


@contextmanager
def _short(home: Path) -> Iterator[str]:
    """Name the folder in a few characters: a socket's path must fit in 107 bytes, a home need not."""
    folder = os.open(home, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}"
    finally:
        os.close(folder)
