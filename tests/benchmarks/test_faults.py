"""What the fault benchmark draws and sums; that it finds faults is shown by running it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.faults.__main__ import plan
from benchmarks.faults.broker import free_port
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.report import summary, times
from benchmarks.soak import growth

KINDS = {
    "kill_loop",
    "kill_learner",
    "kill_vllm",
    "kill_broker",
    "stop_loop",
    "broker_unreachable",
    "half_open",
}
KINDS |= {"broker_slow", "restart_broker", "disk_full", "shared_memory_full", "database_locked", "torn_log"}
KINDS |= {"cut_log", "clock_forward", "clock_back", "not_a_number", "corrupt_version", "kill_embedded_broker"}


def test_sixty_rounds_hold_every_kind_and_are_drawn_by_the_seed() -> None:
    drawn = [fault.name for fault in plan(60, 3, [])]
    assert len(drawn) == 60
    assert set(drawn) >= KINDS
    assert drawn == [fault.name for fault in plan(60, 3, [])]
    assert drawn != [fault.name for fault in plan(60, 4, [])]


def test_the_embedded_broker_comes_last_for_it_costs_a_start() -> None:
    needs = [fault.needs == "embedded" for fault in plan(60, 0, [])]
    assert needs == sorted(needs)
    assert [fault.name for fault in plan(2, 0, ["kill_embedded_broker"])] == ["kill_embedded_broker"] * 2


def test_sums_and_nearest_rank() -> None:
    line = {"fault": "kill_loop", "victim": "loop", "in_time": True, "findings": [], "round_s": 30.0}
    counted = {"lost": 0, "duplicated": 0, "wedged": 0, "weights_mismatch": 0}
    bad = {**counted, "lost": 2, "wedged": 1}
    found = summary(
        [{**line, **counted, "recovery_s": 1.0}, {**line, **bad, "in_time": False, "recovery_s": 3.0}]
    )
    assert (found["rounds"], found["lost"], found["wedged"], found["late"]) == (2, 2, 1, 1)
    assert found["recovery_s"] == {"loop": {"n": 2, "p50": 1.0, "p99": 3.0}}
    assert times([float(n) for n in range(1, 201)])["p99"] == 198.0


def test_growth_is_measured_behind_the_warm_up() -> None:
    assert growth([10] * 20 + [100] * 80) == 0.0
    assert growth([100] * 50 + [110] * 50) == pytest.approx(0.1)


@contextmanager
def echo() -> Iterator[int]:
    """Run a server that answers what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

        def answer(peer: socket.socket) -> None:
            with peer:
                while data := peer.recv(100):
                    peer.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def test_the_proxy_passes_refuses_and_swallows() -> None:
    with echo() as port:
        proxy = Proxy(free_port(), port)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            proxy.switch("half_open")
            client.sendall(b"two")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(10)
            assert proxy.swallowed == 3
            proxy.switch("refuse")
        with (
            contextlib.suppress(ConnectionResetError),
            socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client,
        ):
            assert client.recv(10) == b"", "it was closed"
        assert proxy.refused == 1
