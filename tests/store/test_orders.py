"""Orders that somebody waits for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from policies.errors import Unreachable
from policies.messages import CommandPayload
from store import commands, orders
from store.database import Store, open_store
from store.processes import record_process

SECRET = "ghp_" + "a1B2c3D4" * 4 + "e5F6"


def carried_out(home: Path, seen: list[CommandPayload], deadline: float) -> None:
    """Do what a learner does with the first command: carry it out, and answer with its arguments."""
    with open_store(home) as store:
        while not seen and time.monotonic() < deadline:
            seen += commands.waiting(store)
            time.sleep(0.01)
        with store.write() as connection:
            commands.finish(connection, seen[0].event_id, "done", seen[0].args)


def test_a_secret_in_an_order_reaches_neither_the_store_nor_the_learner(store: Store, home: Path) -> None:
    record_process(store, "learner", "ready", 1)
    seen: list[CommandPayload] = []
    learner = threading.Thread(target=carried_out, args=(home, seen, time.monotonic() + 30))
    learner.start()
    asked = {"action": "try", "name": "loud", "scale": 1.5, "prompts": [f"Use {SECRET}.", "Why?"]}
    done = orders.give(store, home, "a", "steer", asked)
    learner.join()
    assert done["prompts"][0].startswith("Use <secret:github_token:")
    assert done == {**asked, "prompts": [done["prompts"][0], "Why?"]}
    assert seen[0].args == done
    assert SECRET not in "\n".join(store.connection.iterdump())


def test_without_a_learner_nothing_is_ordered(store: Store, home: Path) -> None:
    with pytest.raises(Unreachable, match="no learner runs"):
        orders.give(store, home, "a", "probe", {})
    assert commands.waiting(store) == []
