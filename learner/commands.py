"""Carries out the commands that wait in the store: pause, resume, rollback, probe, and those of others.

Each counts once. What a command changes is written in one transaction with the word that it is applied; a
kill before it leaves the command waiting, one after it leaves it to be answered at the next start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import structlog

from learner.arguments import Handler, Order
from learner.lineage import Lineage
from learner.rounds import Rounds
from policies.errors import ConfigError, GuardRefused, InputError, Unreachable
from policies.messages import CommandPayload
from store import commands, probes, state, versions
from store.database import Store
from store.versions import Version

log = structlog.get_logger()

MOST_TRIES = 3
"""A command that breaks the learner so often has failed."""


def carry_out(
    store: Store,
    command: CommandPayload,
    lineage: Lineage,
    rounds: Rounds,
    others: Mapping[str, Handler] = MappingProxyType({}),
) -> None:
    """Carry out one command and record how it ended. What is refused changes nothing.

    `others` carry out the commands that are named there. What nobody expects is raised: the command waits for
    the next start, or has failed when it was the last try.
    """
    order = _begun(store, command)
    if order.before.tries > MOST_TRIES:
        reason = order.before.reason or "the learner was killed each time"
        _finish(store, command, "failed", {"reason": _of_tries(reason)})
        return
    try:
        handler = others.get(command.command)
        result = handler(order) if handler else _result(store, command, order, lineage, rounds)
        outcome: commands.Outcome = "done"
    except (GuardRefused, ConfigError, InputError) as error:
        outcome, result = "refused", {"reason": str(error)}
    except Unreachable:
        _keep(store, command, tries=order.before.tries - 1)  # no fault of the command
        raise
    except Exception as error:
        _break_off(store, command, f"{type(error).__name__}: {error}")
        raise
    _finish(store, command, outcome, result)


def answer_applied(store: Store, lineage: Lineage) -> None:
    """Answer the commands that a kill left applied, but not answered; the live weights are settled."""
    for event_id, known in commands.applied(store):
        version = known.get("version")
        exact = {} if version is None else {"bit_for_bit": lineage.holds_exactly(version)}
        with store.write() as connection:
            commands.finish(connection, event_id, "done", exact | known)
        log.info("command of before the restart", event_id=event_id, **known)


def _begun(store: Store, command: CommandPayload) -> Order:
    """Count a try; a kill cannot do it afterwards."""
    before = _keep(store, command, tries=commands.progress(store, command.event_id).tries + 1)
    return Order(command.event_id, command.args, before)


def _keep(store: Store, command: CommandPayload, **known: object) -> commands.Progress:
    progress = commands.progress(store, command.event_id).model_copy(update=known)
    with store.write() as connection:
        commands.keep(connection, command.event_id, progress)
    return progress


def _break_off(store: Store, command: CommandPayload, reason: str) -> None:
    """Record why a command broke the learner; what is applied already is answered at the next start."""
    applied = any(event_id == command.event_id for event_id, _ in commands.applied(store))
    if not applied and _keep(store, command, reason=reason).tries >= MOST_TRIES:
        _finish(store, command, "failed", {"reason": _of_tries(reason)})


def _of_tries(reason: str) -> str:
    return f"given up after {MOST_TRIES} tries: {reason}"


def _finish(store: Store, command: CommandPayload, outcome: commands.Outcome, result: dict[str, Any]) -> None:
    with store.write() as connection:
        commands.finish(connection, command.event_id, outcome, result)
    log.info("command", command=command.command, outcome=outcome, **result)


def _result(
    store: Store, command: CommandPayload, order: Order, lineage: Lineage, rounds: Rounds
) -> dict[str, Any]:
    if command.command == "rollback":
        return _roll_back(store, order, lineage)
    if command.command == "probe":
        run = rounds.measure()
        values = {name: probes.mean(list(items.values())) for name, items in run.scores.items() if items}
        return {"values": values, "items": {name: len(items) for name, items in run.scores.items()}}
    if command.command not in ("pause", "resume"):
        raise GuardRefused(f"nobody here carries out {command.command!r}")
    result = {"paused": command.command == "pause"}
    with store.write() as connection:
        state.put(connection, "paused", result["paused"])
        order.applied(connection, result)
    return result


def _roll_back(store: Store, order: Order, lineage: Lineage) -> dict[str, Any]:
    wanted = order.args.get("to")
    target = lineage.rollback_target() if wanted is None else versions.get(store, str(wanted))
    if target is None:
        raise GuardRefused(f"no single version starts with {wanted!r} (see `history`)")
    lineage.require_restorable(target)

    def record(connection: sqlite3.Connection, version: Version, quarantined: int) -> None:
        known = {"to_version": target.id, "version": version.id, "quarantined": quarantined}
        order.applied(connection, known)

    done = lineage.roll_back(target, str(order.args.get("reason", "by hand")), record)
    return {
        "to_version": target.id,
        "version": done.version.id,
        "bit_for_bit": done.bit_for_bit,
        "quarantined": done.quarantined,
    }
