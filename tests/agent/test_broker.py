"""The embedded broker as a process."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from brokers import BrokerProcess

from agent.credentials import broker_url


def test_stops_cleanly_and_says_nothing(tmp_path: Path) -> None:
    broker = BrokerProcess("amqtt", tmp_path)
    broker.start()
    assert broker.stop() == 0
    assert broker.out.read_text() == ""
    assert "Traceback" not in broker.log.read_text()


def test_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "agent.broker", "--home", str(tmp_path), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"port {port}" in ended.stderr
    assert "bus.port" in ended.stderr


def test_credentials_are_private_and_last(tmp_path: Path) -> None:
    broker = BrokerProcess("amqtt", tmp_path)
    url = broker_url(tmp_path, 1)
    broker.start()
    broker.stop()
    assert broker_url(tmp_path, 1) == url
    for name in ("broker.json", "broker.passwords"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    password = url.split(":")[2].split("@")[0]
    assert password not in (tmp_path / "broker.passwords").read_text()


def test_listens_on_one_loopback_address_alone(amqtt: BrokerProcess) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", amqtt.port)) != 0
