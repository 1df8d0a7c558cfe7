"""The door of HTTP: who may come in, with what, how much, how often.

A browser on this machine reaches loopback, too, for any page that it shows. So the Host header must be ours
(a name that an attacker points at 127.0.0.1 in their DNS is not), no other origin may ask, and what changes
something needs the token of the state folder.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from policies.config import LimitConfig
from policies.limits import Bucket
from store.clock import now_ms

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SAFE = frozenset({"GET", "HEAD"})


class Guard:
    """Refuses requests before a route sees them. `hosts` are names beside those of loopback."""

    def __init__(self, token: str, limits: LimitConfig, hosts: Collection[str] = ()) -> None:
        self._token = f"Bearer {token}".encode()
        self._limits = limits
        self._hosts = LOOPBACK | set(hosts)
        self._bucket = Bucket(limits.requests_per_minute)

    def refusal(self, request: Request) -> Response | None:
        """Return why a request is refused by its head alone, None where it is not."""
        if not self._is_ours(f"//{request.headers.get('host', '')}"):
            return _refused(403, "host: this server answers to loopback names alone (http.host)")
        origin = request.headers.get("origin")
        foreign = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign or (origin is not None and not self._is_ours(origin)):
            return _refused(403, "origin: no other site may ask")
        return None if request.method in _SAFE else self._refusal_of_change(request)

    async def body(self, request: Request) -> bytes | None:
        """Return the body, None as soon as it is larger than allowed."""
        whole = bytearray()
        async for piece in request.stream():
            whole += piece
            if len(whole) > self._limits.request_bytes:
                return None
        return bytes(whole)

    def _refusal_of_change(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._token):
            return _refused(401, "authorization: send `Authorization: Bearer` with the token in http.token")
        if not self._bucket.take(now_ms()):
            return _refused(429, f"more than {self._limits.requests_per_minute} requests a minute")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return _refused(415, "content-type: application/json is needed")
        return None

    def _is_ours(self, url: str) -> bool:
        try:
            return urlsplit(url).hostname in self._hosts
        except ValueError:
            return False


def _refused(status: int, reason: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": reason}, status, headers)
