"""`run.py correct`, `probe`, `rollback`: what is told to the running system through its store."""

from __future__ import annotations

import json as json_text
import sys
import time
from typing import Any

from agent.ingest import Ingest
from agent.language import detect_language
from agent.verbs.output import print_json, print_table
from policies.config import Config
from policies.errors import GuardRefused, InputError, Unreachable
from policies.messages import CommandPayload
from store import commands, events, state, wakeup
from store.clock import new_id
from store.database import Store, open_read_only, open_store
from store.home import home_of

TIMEOUT_S = 300.0
LOOK_EVERY_S = 0.1


def give_correction(
    config: Config,
    turn: str,
    verdict: str,
    *,
    direction: str | None,
    corrected: str | None,
    author: str | None,
) -> None:
    """Correct one turn; it is applied at once, as one from the bus. Raises InputError for an unknown turn."""
    open_read_only(home_of(config)).close()
    store = open_store(home_of(config))
    known = events.get(store.connection, turn)
    if known is None or known.role != "assistant":
        raise InputError(f"{turn!r} is not the event id of an assistant turn (see `show CONVERSATION_TURN`)")
    correction = {
        "event_id": new_id(),
        "conversation_id": known.conversation_id,
        "turn_event_id": turn,
        "verdict": verdict,
        "direction": direction,
        "corrected": corrected,
        "author": author,
    }
    Ingest(store, config, detect_language).correction(config.bus.agent, correction, "cli")
    print_json({"correction": correction["event_id"], "turn": turn, "verdict": verdict})


def give_command(config: Config, name: str, arguments: dict[str, Any], *, json: bool) -> None:
    """Write a command row and wait until the learner has carried it out.

    Raises Unreachable when no learner runs, GuardRefused when the learner refuses.
    """
    home = home_of(config)
    open_read_only(home).close()
    store = open_store(home)
    _require_learner(store)
    command = CommandPayload.model_validate({"event_id": new_id(), "command": name, "args": arguments})
    with store.write() as connection:
        commands.insert(connection, config.bus.agent, command)
    wakeup.notify(home, "learner")
    result = _wait(store, command.event_id)
    if json:
        print_json(result)
    else:
        print_table(name, ("what", "value"), list(_flat(result).items()))


def _require_learner(store: Store) -> None:
    row = store.row("SELECT state FROM processes WHERE name = 'learner'")
    if row is None or row["state"] not in ("ready", "starting", "restarting"):
        raise Unreachable("no learner runs for this HEEDLOOP_HOME: start the system with `run.py up`")


def _wait(store: Store, event_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    told = False
    while (ended := commands.outcome(store, event_id)) is None:
        _require_learner(store)
        if time.monotonic() > deadline:
            raise Unreachable(
                f"no answer of the learner within {TIMEOUT_S:.0f} s; the command {event_id} waits"
            )
        if not told and state.get(store, "activity") == "training":
            sys.stderr.write("the learner is in the middle of a round; it answers after its present step\n")
            told = True
        time.sleep(LOOK_EVERY_S)
    outcome, result = ended
    if outcome != "done":
        raise GuardRefused(str(result.get("reason", json_text.dumps(result))))
    return result


def _flat(result: dict[str, Any]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in result.items():
        nested = value.items() if isinstance(value, dict) else None
        flat |= {f"{name}: {key}": part for key, part in nested} if nested is not None else {name: value}
    return flat
