"""Carries out the commands that wait in the store: pause, resume, rollback, probe, and those of others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import structlog

from learner.arguments import Handler
from learner.lineage import Lineage
from learner.rounds import Rounds
from policies.errors import ConfigError, GuardRefused, InputError
from policies.messages import CommandPayload
from store import commands, probes, state, versions
from store.database import Store

log = structlog.get_logger()


def carry_out(
    store: Store,
    command: CommandPayload,
    lineage: Lineage,
    rounds: Rounds,
    others: Mapping[str, Handler] = MappingProxyType({}),
) -> None:
    """Carry out one command and record how it ended. What is refused changes nothing.

    `others` carry out the commands that are named there.
    """
    try:
        handler = others.get(command.command)
        result = handler(command.args) if handler else _result(store, command, lineage, rounds)
        outcome: commands.Outcome = "done"
    except (GuardRefused, ConfigError, InputError) as error:
        outcome, result = "refused", {"reason": str(error)}
    with store.write() as connection:
        commands.finish(connection, command.event_id, outcome, result)
    log.info("command", command=command.command, outcome=outcome, **result)


def _result(store: Store, command: CommandPayload, lineage: Lineage, rounds: Rounds) -> dict[str, Any]:
    if command.command == "rollback":
        return _roll_back(store, command.args, lineage)
    if command.command == "probe":
        run = rounds.measure()
        values = {name: probes.mean(list(items.values())) for name, items in run.scores.items() if items}
        return {"values": values, "items": {name: len(items) for name, items in run.scores.items()}}
    if command.command not in ("pause", "resume"):
        raise GuardRefused(f"nobody here carries out {command.command!r}")
    paused = command.command == "pause"
    with store.write() as connection:
        state.put(connection, "paused", paused)
    return {"paused": paused}


def _roll_back(store: Store, arguments: dict[str, Any], lineage: Lineage) -> dict[str, Any]:
    wanted = arguments.get("to")
    target = lineage.rollback_target() if wanted is None else versions.get(store, str(wanted))
    if target is None:
        raise GuardRefused(f"no single version starts with {wanted!r} (see `history`)")
    lineage.require_restorable(target)
    done = lineage.roll_back(target, str(arguments.get("reason", "by hand")))
    return {
        "to_version": target.id,
        "version": done.version.id,
        "bit_for_bit": done.bit_for_bit,
        "quarantined": done.quarantined,
    }
