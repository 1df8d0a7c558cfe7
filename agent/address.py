"""Where the broker is: `mqtt://user:password@host:port`."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from policies.errors import ConfigError


class Address(NamedTuple):
    """Where the broker is, and who we are there."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool

    @property
    def shown(self) -> str:
        """Return the address without the password, for messages to people."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def parse_url(url: str) -> Address:
    """Read `mqtt://user:password@host:port`, or `mqtts://`. Raises ConfigError, never with the password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"bus.url cannot be read ({error}): write mqtt://user:password@host:port") from None
    if parts.scheme not in ("mqtt", "mqtts") or not host:
        raise ConfigError(
            f"bus.url with scheme {parts.scheme!r} and host {host!r}: write mqtt://user:password@host:port"
        )
    tls = parts.scheme == "mqtts"
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return Address(host, port or (8883 if tls else 1883), username, password, tls)


def running_broker() -> str:
    """Return the URL of the broker of the `run.py up` on this machine. Raises ConfigError where none runs."""
    from store import state  # an agent that names its broker needs none of these
    from store.database import open_read_only
    from store.home import home_of
    from store.settings import load_config

    store = open_read_only(home_of(load_config()))
    try:
        url = state.get(store, "broker_url")
    finally:
        store.close()
    if url is None:
        raise ConfigError("no broker is named, and no `run.py up` has run here: give its url")
    return str(url)
