from __future__ import annotations

import threading
from pathlib import Path

from store.wakeup import Listener, notify


def test_wakes_a_waiting_listener(tmp_path: Path) -> None:
    listener = Listener(tmp_path, "learner")
    threading.Timer(0.05, notify, (tmp_path, "learner")).start()
    assert listener.wait(20)
    assert not listener.wait(0.01)
    listener.close()


def test_many_wake_ups_are_one(tmp_path: Path) -> None:
    listener = Listener(tmp_path, "loop")
    sent = [notify(tmp_path, "loop") for _ in range(2000)]
    assert sent[0]
    assert listener.drain()
    assert not listener.drain()
    listener.close()


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    assert not notify(tmp_path, "learner")
    assert not notify(tmp_path / "missing", "learner")
    Listener(tmp_path, "learner").close()
    assert not notify(tmp_path, "learner")


def test_newer_listener_takes_the_name_over(tmp_path: Path) -> None:
    old, new = Listener(tmp_path, "loop"), Listener(tmp_path, "loop")
    old.close()
    assert notify(tmp_path, "loop")
    assert new.drain()
    new.close()
    assert not (tmp_path / "loop.sock").exists()


def test_socket_is_private_and_its_path_may_be_long(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    home.mkdir()
    listener = Listener(home, "learner")
    assert (home / "learner.sock").stat().st_mode & 0o777 == 0o600
    assert notify(home, "learner")
    assert listener.drain()
    listener.close()
