"""Orders to the learner that somebody waits for: a command row, a wake-up, and the answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from policies.errors import GuardRefused, Unreachable
from policies.messages import CommandPayload
from store import commands, state, wakeup
from store.clock import new_id
from store.database import Store
from store.redaction import Redaction

TIMEOUT_S = 300.0
LOOK_EVERY_S = 0.1


def give(
    store: Store,
    home: Path,
    agent: str,
    name: str,
    arguments: dict[str, Any],
    tell: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Write a command row and wait until the learner has carried it out; `tell` gets a line if it takes long.

    What is a secret in the arguments does not reach the row: the learner gets the tag in its place.
    Raises Unreachable when no learner runs, GuardRefused when the learner refuses.
    """
    require_learner(store)
    given = CommandPayload.model_validate({"event_id": new_id(), "command": name, "args": arguments})
    command = Redaction(home).command(given)
    with store.write() as connection:
        commands.insert(connection, agent, command)
    wakeup.notify(home, "learner")
    return _wait(store, command.event_id, tell)


def require_learner(store: Store) -> None:
    """Raises Unreachable when no learner runs for this store."""
    row = store.row("SELECT state FROM processes WHERE name = 'learner'")
    if row is None or row["state"] not in ("ready", "starting", "restarting"):
        raise Unreachable("no learner runs for this HEEDLOOP_HOME: start the system with `run.py up`")


def _wait(store: Store, event_id: str, tell: Callable[[str], object]) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    told = False
    while (ended := commands.outcome(store, event_id)) is None:
        require_learner(store)
        if time.monotonic() > deadline:
            raise Unreachable(
                f"no answer of the learner within {TIMEOUT_S:.0f} s; the command {event_id} waits"
            )
        if not told and state.get(store, "activity") == "training":
            tell("the learner is in the middle of a round; it answers after its present step\n")
            told = True
        time.sleep(LOOK_EVERY_S)
    outcome, result = ended
    if outcome != "done":
        raise GuardRefused(str(result.get("reason", json.dumps(result))))
    return result
