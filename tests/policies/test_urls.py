"""Addresses from host and port."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from policies.urls import base_url


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "fe80::1"])
def test_host_and_port_are_found_again_in_the_address(host: str) -> None:
    found = urlsplit(base_url(host, 8000) + "/v1/models")
    assert (found.scheme, found.hostname, found.port, found.path) == ("http", host, 8000, "/v1/models")
