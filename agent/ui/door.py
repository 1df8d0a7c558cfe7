"""Who may look: browsers on this machine that were given the token; nobody who wants to change something.

The pages show conversations, which other users of the machine may not read: loopback alone is not enough.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.credentials import http_token
from agent.http_guard import Guard
from policies.config import LimitConfig
from policies.urls import base_url

_COOKIE = "heedloop_ui"
_SAFE = frozenset({"GET", "HEAD"})
_HEADERS = {
    # Vega compiles expressions; nothing is loaded from, or sent to, anywhere else
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def ui_token(home: Path) -> str:
    """Return what opens the door: made from the token of HTTP, which cannot be found out from it."""
    return hashlib.blake2b(b"heedloop ui", key=http_token(home).encode()[:64], digest_size=20).hexdigest()


def address(home: Path, host: str, port: int) -> str:
    """Return the address that opens the door."""
    return f"{base_url(host, port)}/?token={ui_token(home)}"


class Door:
    """Lets requests through to `app`: GET and HEAD, by a name of this machine, with the token."""

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._token = token
        self._guard = Guard(token, LimitConfig(), hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refusal(Request(scope))
        await (refused or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        if request.method not in _SAFE:
            return PlainTextResponse("the history is read-only here\n", 405, {"Allow": "GET, HEAD"})
        refused = self._guard.refusal(request)
        if refused is not None:
            return refused
        if self._is_token(request.query_params.get("token")):
            return self._welcome(request)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(bearer) or self._is_token(_cookie(request)):
            return None
        return PlainTextResponse("open the address that `run.py ui` prints: it has the token\n", 401)

    def _welcome(self, request: Request) -> Response:
        """Move the token from the address, which gets about, into a cookie."""
        rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
        answer = RedirectResponse(request.url.path + (f"?{urlencode(rest)}" if rest else ""), 303)
        answer.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict")
        return answer

    def _is_token(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._token.encode())


def _cookie(request: Request) -> str | None:
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
