"""The address of a server that is named by host and port."""

from __future__ import annotations


def base_url(host: str, port: int) -> str:
    """Return the HTTP address without a path; an IPv6 address gets its brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
