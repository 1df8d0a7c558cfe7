"""A TCP proxy before the broker: it passes on, refuses, is slow, or takes everything and hands nothing on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal

Mode = Literal["pass", "refuse", "slow", "half_open"]

_SLOW_S = 0.4
_CHUNK = 65_536


class Proxy:
    """Runs on a thread of its own. `port` is where clients connect; `broker_port` is the real one."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.port, self._broker_port = port, broker_port
        self.mode: Mode = "pass"
        self.swallowed = 0
        """bytes that went nowhere, and connections that were refused"""
        self.refused = 0
        self.delayed = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)

    def switch(self, mode: Mode) -> None:
        """Go over to another mode. `refuse` and a return from `half_open` end the connections that are."""
        ends = mode == "refuse" or self.mode == "half_open"
        self.mode = mode
        if ends:
            asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(10)

    async def _serve(self) -> None:
        await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _end_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            self.refused += 1
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:  # the broker is down, and so the client's connection
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(back)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        for one in (writer, back):
            self._writers.discard(one)
            one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.mode == "half_open":
                    self.swallowed += len(data)
                    continue
                if self.mode == "slow":
                    self.delayed += 1
                    await asyncio.sleep(_SLOW_S)
                writer.write(data)
                await writer.drain()
        writer.close()
