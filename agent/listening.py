"""A socket that listens: who connects from then on waits for the server instead of being refused."""

from __future__ import annotations

import socket

from policies.errors import ConfigError


def listen(host: str, port: int, section: str) -> socket.socket:
    """Bind the listening socket of a `section` of the settings; port 0 takes a free one.

    Raises ConfigError where it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{section}: cannot listen on {host}:{port} ({error.strerror}): set {section}.port to another"
        ) from None
    listening.listen()
    return listening
