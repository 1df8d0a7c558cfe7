"""Real brokers for the tests: mosquitto where it is installed, and our embedded amqtt."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import BrokerProcess, find_mosquitto


def _require_mosquitto() -> None:
    if find_mosquitto() is None:
        if "mosquitto" in os.environ.get("HEEDLOOP_REQUIRE", "").split(","):
            pytest.fail("mosquitto is not installed, and HEEDLOOP_REQUIRE asks for it")
        pytest.skip("mosquitto is not installed")


def _running(kind: str, home: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(kind, home)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def amqtt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """The embedded broker of one module: it keeps for the loop what nobody took, and hands it on."""
    yield from _running("amqtt", tmp_path_factory.mktemp("amqtt"))


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    _require_mosquitto()
    yield from _running("mosquitto", tmp_path_factory.mktemp("mosquitto"))


@pytest.fixture(params=["amqtt", "mosquitto"])
def each_broker(request: pytest.FixtureRequest) -> BrokerProcess:
    """Both brokers, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> BrokerProcess:
    """One broker: mosquitto if found, else amqtt."""
    if find_mosquitto() is None and "mosquitto" not in os.environ.get("HEEDLOOP_REQUIRE", ""):
        return request.getfixturevalue("amqtt")
    return request.getfixturevalue("mosquitto")


@pytest.fixture
def agent_id() -> str:
    """An agent that no other test uses: topics are its own."""
    return f"a{uuid.uuid4().hex[:10]}"
