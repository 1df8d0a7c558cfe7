"""`/healthz`, `/readyz` and `/metrics` of the loop, on loopback by default."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from policies.errors import ConfigError
from store.database import open_read_only
from store.status import summary

_NEEDED = ("vllm", "learner")


def make_app(home: Path, bus_state: Callable[[], str]) -> Starlette:
    """Build the three routes. Each request reads the store through a read-only connection of its own."""
    registry = CollectorRegistry()
    registry.register(_StoreCollector(home, bus_state))

    def healthz(_: Request) -> Response:
        return JSONResponse({"alive": True})

    def readyz(_: Request) -> Response:
        reasons = not_ready(_read(home), bus_state())
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


def not_ready(now: dict[str, Any], bus: str) -> list[str]:
    """Return, one line each, why the system cannot do its work yet; empty when it can."""
    states = {process["name"]: process["state"] for process in now["processes"]}
    reasons = [
        f"{name} is {states.get(name, 'not started')}" for name in _NEEDED if states.get(name) != "ready"
    ]
    if not reasons and not now["learner_attached"]:
        reasons = ["learner is not attached to the live weights yet"]
    return reasons if bus == "connected" else [*reasons, f"bus is {bus}"]


def listen(host: str, port: int) -> socket.socket:
    """Bind the listening socket; port 0 takes a free one. Raises ConfigError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"http: cannot listen on {host}:{port} ({error.strerror}): set http.port to another"
        ) from None
    listening.listen()  # who connects from now on waits for the server instead of being refused
    return listening


async def serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until cancelled; then finish open requests, for one second at most."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="uvicorn")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the loop has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _StoreCollector(Collector):
    """Reads the store at each scrape, so that a restart of the loop forgets nothing."""

    def __init__(self, home: Path, bus_state: Callable[[], str]) -> None:
        self._home = home
        self._bus_state = bus_state

    def collect(self) -> Iterator[Metric]:
        now = _read(self._home)
        yield _counter("turns", "turns kept", now["events"])
        yield _counter("corrections", "corrections received", now["corrections"])
        yield _counter("dead_letters", "records kept as unreadable", sum(now["dead_letters"].values()))
        yield _labelled("decisions", "decision points by worst verdict", "verdict", _verdicts(now))
        yield _labelled("examples", "examples by kind and state", "state", now["examples"])
        yield _labelled("steps", "training steps by state", "state", now["steps"])
        yield _labelled("queue_depth", "rows that wait", "queue", now["queues"])
        yield _labelled(
            "counted", "what no table holds: repeated, dropped, rejected", "what", now["counters"]
        )
        yield _labelled("probe", "last value of each regression probe", "probe", _probe_values(now))
        yield _gauge("replay_share", "general rows over all rows of confirmed steps", now["replay_share"])
        yield _gauge("bus_connected", "1 while the broker session is up", self._bus_state() == "connected")
        restarts = CounterMetricFamily("heedloop_child_restarts", "restarts of a child", labels=["process"])
        for process in now["processes"]:
            restarts.add_metric([process["name"]], process["restarts"])
        yield restarts


def _read(home: Path) -> dict[str, Any]:
    store = open_read_only(home)
    try:
        return summary(store)
    finally:
        store.close()


def _verdicts(now: dict[str, Any]) -> dict[str, int]:
    labelled = {verdict: now["labels"].get(verdict, 0) for verdict in ("ignored", "followed")}
    return {**labelled, "unknown": now["decisions"] - sum(labelled.values())}


def _probe_values(now: dict[str, Any]) -> dict[str, float]:
    return {} if now["last_probe"] is None else now["last_probe"]["values"]


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"heedloop_{name}", text, value=value)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"heedloop_{name}", text)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _labelled(name: str, text: str, label: str, values: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(f"heedloop_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
