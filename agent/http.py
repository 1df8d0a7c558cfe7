"""HTTP of the loop, on loopback by default: health and metrics to read; corrections and commands to send."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.http_guard import Guard
from agent.metrics import Meters, read
from policies.errors import InputError
from policies.parsing import decode
from store.clock import new_id
from store.status import readiness

_NEEDED = ("vllm", "learner")
COMMANDS = ("pause", "resume", "rollback")
_STATUS = {"rejected": 422, "duplicate": 200}
"""Of what became of a payload; all else is taken, and 202."""


@dataclass(frozen=True)
class Orders:
    """What a request with the token may do; each returns what became of the payload."""

    correct: Callable[[bytes], Awaitable[str]]
    command: Callable[[dict[str, Any]], Awaitable[str]]
    bury: Callable[[str, bytes], Awaitable[None]]


def make_app(
    home: Path, bus_state: Callable[[], str], guard: Guard, meters: Meters, orders: Orders | None = None
) -> Starlette:
    """Build the routes. Each request reads the store through a read-only connection of its own.

    Without `orders` nothing can be changed.
    """

    def healthz(_: Request) -> Response:
        return JSONResponse({"alive": True})

    def readyz(_: Request) -> Response:
        reasons = not_ready(read(home, readiness), bus_state())
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    def metrics(_: Request) -> Response:
        return Response(meters.scrape(), media_type=CONTENT_TYPE_LATEST)

    async def door(request: Request, go_on: RequestResponseEndpoint) -> Response:
        return guard.refusal(request) or await go_on(request)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    routes += [] if orders is None else _changing(orders, guard)
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=door)])


def _changing(orders: Orders, guard: Guard) -> list[Route]:
    """Return the routes that change something."""

    async def correct(request: Request) -> Response:
        body = await guard.body(request)
        if body is None:
            return _too_large()
        outcome = await orders.correct(body)
        return JSONResponse({"outcome": outcome}, _STATUS.get(outcome, 202))

    def command(name: str) -> Route:
        async def order(request: Request) -> Response:
            body = await guard.body(request)
            if body is None:
                return _too_large()
            try:
                arguments = decode(body or b"{}")
            except InputError as error:
                await orders.bury(str(error), body)
                return JSONResponse({"error": str(error)}, 422)
            if not isinstance(arguments, dict):
                return JSONResponse({"error": "a JSON object of arguments is needed"}, 422)
            event_id = arguments.pop("event_id") if "event_id" in arguments else new_id()
            given = {"event_id": event_id, "command": name, "args": arguments}
            outcome = await orders.command(given)
            return JSONResponse({"outcome": outcome, "event_id": event_id}, _STATUS.get(outcome, 202))

        return Route(f"/v1/{name}", order, methods=["POST"])

    return [Route("/v1/corrections", correct, methods=["POST"]), *map(command, COMMANDS)]


def _too_large() -> Response:
    return JSONResponse({"error": "the body is larger than limits.request_bytes"}, 413)


def not_ready(now: dict[str, Any], bus: str) -> list[str]:
    """Return, one line each, why the system cannot do its work yet; empty when it can."""
    states = {process["name"]: process["state"] for process in now["processes"]}
    reasons = [
        f"{name} is {states.get(name, 'not started')}" for name in _NEEDED if states.get(name) != "ready"
    ]
    if not reasons and not now["learner_attached"]:
        reasons = ["learner is not attached to the live weights yet"]
    return reasons if bus == "connected" else [*reasons, f"bus is {bus}"]


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
