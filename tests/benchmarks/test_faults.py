"""What the fault benchmark draws and sums; that it finds faults is shown by running it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks.faults import round
from benchmarks.faults.__main__ import FAULTS, plan
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.report import COUNTED, is_good, passed, summary, times
from benchmarks.faults.stage import Proof
from benchmarks.faults.system import System
from benchmarks.soak import growth, growth_of_thirds, settled
from learner.temporary_server import free_port

STOOD = ({"stopped": 6, "state": "T"}, {"stopped": 6, "state": "S"})
DEAD = ({"killed": 16, "alive_after": False}, {"killed": 16, "alive_after": True})
ANOTHER = ({"ended": 6, "now": 9}, {"ended": 6, "now": 6})
FULL = ({"filled_bytes": 390283264, "free_bytes": 0}, {"filled_bytes": 4096, "free_bytes": 2**26})
FILLED = {"state": "T", "kept_bytes": 9000}
AHEAD = {"set_by_s": 7200, "asked_ms": 1795980780000}
BEHIND = {"set_by_s": -7200, "asked_ms": 1795980780000}
PROOFS: dict[str, tuple[Proof, Proof]] = {
    **dict.fromkeys(("kill_loop", "kill_learner", "kill_vllm", "kill_ui", "kill_embedded_broker"), DEAD),
    **dict.fromkeys(("stop_loop", "stop_learner", "stop_vllm", "stop_broker"), STOOD),
    **dict.fromkeys(("kill_broker", "restart_broker"), ANOTHER),
    **dict.fromkeys(("disk_full", "shared_memory_full"), FULL),
    "kill_supervisor": ({"killed": 8, "alive_after": []}, {"killed": 8, "alive_after": [12]}),
    "kill_embedded_broker_full": (
        {**DEAD[0], **FILLED},
        {**DEAD[0], **FILLED, "kept_bytes": 0},
    ),
    "clock_forward": (
        {**AHEAD, "row_during_ms": 1795987979000},
        {**AHEAD, "row_during_ms": 1795980779000},
    ),
    "clock_back": ({**BEHIND, "row_during_ms": 1795973579000}, {**BEHIND, "row_during_ms": None}),
    "broker_unreachable": ({"refused": 6}, {"refused": 0}),
    "broker_slow": ({"delayed": 97}, {"delayed": 0}),
    "half_open": ({"swallowed": 9382}, {"swallowed": 0}),
    "database_locked": ({"refused": True, "said_meanwhile": 40}, {"refused": False, "said_meanwhile": 40}),
    "torn_log": ({"torn_bytes": 1516, "lost": 0}, {"torn_bytes": 0, "lost": 0}),
    "cut_log": ({"lost": 28}, {"lost": 0}),
    "corrupt_version": ({"in_force_when_killed": True}, {"in_force_when_killed": False}),
    "not_a_number": (
        {"steps_dropped": 3, "state": "quarantined"},
        {"steps_dropped": 0, "state": "ready"},
    ),
}
"""of each fault: what it leaves when it happened, and when it did nothing"""
NONE = dict.fromkeys(COUNTED, 0)
LINE = {
    "fault": "kill_loop",
    "victim": "loop",
    "in_time": True,
    "findings": [],
    "round_s": 30.0,
    "recovery_s": 1.0,
    "up_restarted": 0,
    **NONE,
}


def test_sixty_rounds_hold_every_kind_and_are_drawn_by_the_seed() -> None:
    drawn = [fault.name for fault in plan(60, 3, [])]
    assert len(drawn) == 60
    assert set(drawn) == {fault.name for fault in FAULTS}
    assert drawn == [fault.name for fault in plan(60, 3, [])]
    assert drawn != [fault.name for fault in plan(60, 4, [])]


def test_the_embedded_broker_comes_last_for_it_costs_a_start() -> None:
    needs = [fault.needs == "embedded" for fault in plan(60, 0, [])]
    assert needs == sorted(needs)
    assert [fault.name for fault in plan(2, 0, ["kill_embedded_broker"])] == ["kill_embedded_broker"] * 2


def test_the_proof_of_each_fault_tells_one_that_happened_from_one_that_did_nothing() -> None:
    judged = {fault.name: tuple(map(fault.shown, PROOFS[fault.name])) for fault in FAULTS}
    assert judged == dict.fromkeys(PROOFS, (True, False))


def test_what_a_fault_ends_must_be_there_again_and_be_another() -> None:
    (kill,) = (fault for fault in FAULTS if fault.name == "kill_ui")
    assert round.replaced(kill, {"ui": 5, "loop": 6}, {"ui": 7, "loop": 6})
    assert not round.replaced(kill, {"ui": 5}, {"ui": 5}), "nothing was killed"
    assert not round.replaced(kill, {"ui": 5}, {"loop": 6}), "it did not come back"


def test_a_cut_log_must_be_named_frame_for_frame() -> None:
    (cut,) = (fault for fault in FAULTS if fault.name == "cut_log")
    assert cut.wrong({"lost": 28, "named": 28}) is None
    for named in (0, 27):
        assert f"28 committed frames were cut off, {named} were named" in str(
            cut.wrong({"lost": 28, "named": named})
        )


def test_sums_and_nearest_rank() -> None:
    other = {**LINE, "victim": "vllm", "lost": 2, "wedged": 1, "in_time": False, "recovery_s": 3.0}
    found = summary([LINE, other])
    assert (found["rounds"], found["lost"], found["wedged"], found["late"]) == (2, 2, 1, 1)
    assert found["recovery_s"] == {"n": 2, "p50": 1.0, "p99": 3.0}
    assert found["recovery_s_by_victim"]["loop"] == {"n": 1, "p50": 1.0, "p99": 1.0}
    assert times([float(n) for n in range(1, 201)])["p99"] == 198.0


@pytest.mark.parametrize("name", COUNTED)
def test_one_bad_round_fails_the_run(name: str) -> None:
    assert passed(summary([LINE, LINE]))
    assert is_good(LINE)
    bad = {**LINE, name: 1}
    assert not passed(summary([LINE, bad]))
    assert not is_good(bad)


def test_a_finding_or_a_late_round_fails_the_run_and_patience_is_for_the_late_one_alone() -> None:
    found, late = [{**LINE, "findings": ["cut log: 28 committed frames ..."]}], [{**LINE, "in_time": False}]
    assert not passed(summary(found, patience=3))
    strict, patient = summary(late), summary(late, patience=3)
    assert not passed(strict)
    assert (strict["late"], strict["late_fails"], strict["failed"]) == (1, True, ["late"])
    assert passed(patient)
    assert (patient["late"], patient["late_fails"], patient["failed"]) == (1, False, [])


def test_up_may_only_end_where_the_fault_ends_it() -> None:
    ends = {fault.name for fault in FAULTS if round.died(fault, 1) == 0}
    assert ends == {"kill_supervisor", "torn_log", "cut_log"}
    assert not any(round.died(fault, 0) for fault in FAULTS)
    told = summary([{**LINE, "up_restarted": 1}, {**LINE, "up_restarted": 2}])
    assert told["up_restarted"] == 3
    assert passed(told)


def test_it_is_counted_that_up_ended_by_itself_and_was_started_again(tmp_path: Path) -> None:
    system = System(tmp_path / "home", tmp_path / "none", "no address", tmp_path / "log", tmp_path)
    try:
        assert system.keep()
        assert system.restarts == 0, "it was never there"
        assert round.until(lambda: system.ended is not None, 60), "nothing can be started with that"
        assert system.keep()
        assert system.restarts == 1
        assert round.until(lambda: system.ended is not None, 60)
        system.start()
        assert system.restarts == 1, "that was asked for"
    finally:
        system.kill()


def test_growth_is_measured_behind_the_warm_up() -> None:
    took = [*[0] * 40, *range(1, 11), *[10] * 50]
    samples = [{"learner": 90 if steps < 8 else 100, "loop": 100, "steps": steps} for steps in took]
    assert growth(settled(samples, "learner")) == 0.0
    assert growth([sample["learner"] for sample in samples]) == pytest.approx(0.1111)
    assert len(settled(samples, "loop")) == 80
    assert growth(settled(samples[:60], "learner")) is None
    assert growth([100] * 50 + [110] * 50) == pytest.approx(0.1)


def test_what_rises_and_falls_has_not_grown_while_its_peaks_have_not() -> None:
    assert growth_of_thirds([100, 120] * 50 + [120] * 20, max) == 0.0
    assert growth_of_thirds([100, 120] * 30 + [100, 132] * 30, max) == pytest.approx(0.1)
    assert growth_of_thirds([100, 120] * 60, fmean) == 0.0
    assert growth_of_thirds([100, 120] * 30 + [110, 132] * 30, fmean) == pytest.approx(0.1)
    assert growth_of_thirds([100] * 39, max) is None


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
