"""`run.py correct`, `probe`, `rollback`: what is told to the running system through its store."""

from __future__ import annotations

import sys
from typing import Any

from agent.ingest import Ingest
from agent.language import detect_language
from policies.config import Config
from policies.errors import InputError
from policies.turn import Turn
from store import events, orders
from store.clock import new_id
from store.database import Store, open_existing
from store.home import home_of
from store.printing import print_json, print_table


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
    with open_existing(home_of(config)) as store:
        known = _answer(store, turn)
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


def _answer(store: Store, turn: str) -> Turn:
    known = events.get(store.connection, turn)
    if known is None or known.role != "assistant":
        raise InputError(
            f"{turn!r} is not the event id of an assistant turn: the page `turns` of `run.py ui` shows them,"
            " the publisher returns them"
        )
    return known


def give_command(config: Config, name: str, arguments: dict[str, Any], *, json: bool) -> None:
    """Write a command row and wait until the learner has carried it out.

    Raises Unreachable when no learner runs, GuardRefused when the learner refuses.
    """
    home = home_of(config)
    with open_existing(home) as store:
        result = orders.give(store, home, config.bus.agent, name, arguments, sys.stderr.write)
    if json:
        print_json(result)
    else:
        print_table(name, ("what", "value"), list(_flat(result).items()))


def _flat(result: dict[str, Any]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in result.items():
        nested = value.items() if isinstance(value, dict) else None
        flat |= {f"{name}: {key}": part for key, part in nested} if nested is not None else {name: value}
    return flat
