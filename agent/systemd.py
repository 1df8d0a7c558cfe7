"""Tell systemd how we are (`Type=notify`): one datagram, where it asked for one.

Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import os
import socket


def notify(state: str) -> bool:
    """Send `READY=1`, `STOPPING=1` ... to systemd; False when nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        try:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(state.encode())
        except OSError:  # systemd restarts itself, or its queue is full: the next word will do
            return False
    return True


def watchdog_s() -> float | None:
    """Return within how many seconds systemd wants a sign of life (`WatchdogSec=`); None: it wants none."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not microseconds.isdigit() or (pid is not None and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None


async def ping_watchdog() -> None:
    """Give the sign of life twice in that time, for ever: it stops when the event loop hangs."""
    within = watchdog_s()
    while within is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(within / 2)
