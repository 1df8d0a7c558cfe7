"""Where the broker is, `mqtt://user:password@host:port`, and how it is known to be that one: certificates."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
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


class Certificates(NamedTuple):
    """PEM files for mqtts: who signed the broker (None: the system's list), and our own, where it asks."""

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def from_environment(cls) -> Certificates:
        """Read HEEDLOOP_BUS__CA_FILE, HEEDLOOP_BUS__CERTIFICATE and HEEDLOOP_BUS__KEY."""
        found = (os.environ.get(f"HEEDLOOP_BUS__{name.upper()}") for name in cls._fields)
        return cls(*(Path(text).expanduser() if text and text != "null" else None for text in found))


NO_CERTIFICATES = Certificates()


def tls_context(address: Address, certificates: Certificates) -> ssl.SSLContext | None:
    """Return what a connection to the broker is secured with, None for `mqtt://`.

    TLS 1.2 or newer; the broker's name is checked. Raises ConfigError for a file that cannot be used, and for
    certificates that an `mqtt://` address would leave unused.
    """
    if not address.tls:
        if any(certificates):
            raise ConfigError("bus.ca_file, bus.certificate and bus.key need a bus.url with mqtts://")
        return None
    if (certificates.certificate is None) != (certificates.key is None):
        raise ConfigError("bus.certificate and bus.key belong together: set both, or neither")
    try:
        context = ssl.create_default_context(cafile=certificates.ca_file)
        if certificates.certificate is not None and certificates.key is not None:
            context.load_cert_chain(certificates.certificate, certificates.key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f"bus.{name} = {path}" for name, path in certificates._asdict().items() if path)
        raise ConfigError(f"{files}: cannot be used ({error}): give PEM files that belong together") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """Refuse an encrypted key: OpenSSL would ask the terminal of a daemon for its password."""
    raise ssl.SSLError("the key is encrypted")


def running_broker() -> str:
    """Return the URL for agents of the broker of the `run.py up` on this machine.

    Raises ConfigError where none runs.
    """
    from store import state  # an agent that names its broker needs none of these
    from store.database import open_read_only
    from store.home import home_of
    from store.settings import load_config

    store = open_read_only(home_of(load_config()))
    try:
        url = state.get(store, "agents_broker_url") or state.get(store, "broker_url")
    finally:
        store.close()
    if url is None:
        raise ConfigError("no broker is named, and no `run.py up` has run here: give its url")
    return str(url)
