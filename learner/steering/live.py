"""Steering on the live server: on, off, scale, and answers with and without, each change a version."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

import structlog
import torch
from torch import Tensor

from learner.arguments import Handler, Order, number_of, text_of
from learner.asking import LiveServer
from learner.lineage import Lineage
from learner.live.client import LiveWeights
from learner.rounds import Rounds
from learner.steering.extraction import random_rows
from learner.steering.file import Steering
from learner.vectors.expression import require_scale
from policies.errors import GuardRefused, InputError, Unreachable
from store import examples, outbox, steering
from store.database import Store
from store.steering import Slot
from store.versions import Version

log = structlog.get_logger()

ANSWER_TOKENS, MOST_PROMPTS = 96, 64
AT_ONCE, TIMEOUT_S = 8, 120.0
SLOTS = 8


class LiveSteering:
    """Carries out the command `steer`. The buffer always says what the version in force says.

    `cost` measures how many times the NLL of general text is that without, under rows of steering.
    """

    def __init__(
        self,
        store: Store,
        live: LiveWeights,
        lineage: Lineage,
        rounds: Rounds,
        vectors: Steering,
        cost: Callable[[Tensor], float],
        most_nll: float,
        url: str,
        model: str,
    ) -> None:
        self._store, self._live, self._lineage, self._rounds = store, live, lineage, rounds
        self._vectors, self._server = vectors, LiveServer(url, model, ANSWER_TOKENS, AT_ONCE, TIMEOUT_S)
        self._cost, self._most_nll = cost, most_nll
        self._shown: str | None = None

    def handlers(self) -> dict[str, Handler]:
        """Return what carries out each command of this room, given its arguments."""
        return {"steer": self._carry_out}

    def follow(self) -> None:
        """Let the buffer say what the version in force says: after a start, training, a rollback, a checkout.

        Under weights that are not those on which its vectors were judged, they are judged again.
        """
        version = self._lineage.version
        if version.id == self._shown:
            return
        slots = self.slots()
        self._live.steer(self._rows(slots))
        self._shown = version.id
        if slots and version.kind != "steer":
            self._judge_again(slots)

    def _carry_out(self, order: Order) -> dict[str, Any]:
        arguments = order.args
        action = text_of(arguments, "action")
        if action == "off":
            return self.off(arguments.get("name"), order=order)
        name = text_of(arguments, "name")
        scale = require_scale(number_of(arguments, "scale", 1.0))
        slot = self.slot(name, scale, _layer(arguments))
        if action == "try":
            return self._try(slot, arguments)
        here = next((one for one in self.slots() if one.name == name), None)
        if action == "on":
            return self.on(slot, order)
        if action not in ("scale", "train"):
            raise InputError(f"args.action = {action!r}: one of on, off, scale, train, try")
        if here is None:
            raise GuardRefused(f"steering vector {name!r} is not on: `steer on {name}` first")
        if action == "scale":
            return self.on(here.model_copy(update={"scale": scale}), order)
        return self._hand_over(here, order)

    def slots(self) -> list[Slot]:
        """Return what is on."""
        return steering.of_version(self._store, self._lineage.version)

    def slot(self, name: str, scale: float, layer: int | None = None, *, anneal: bool = False) -> Slot:
        """Return a slot. Raises InputError where vector or layer is not there."""
        vector_id = self._vectors.id_of(name)
        self._vectors.rows(name, scale, layer, vector_id)
        return Slot(name=name, scale=scale, layer=layer, anneal=anneal, vector_id=vector_id)

    def on(self, slot: Slot, order: Order | None = None) -> dict[str, Any]:
        """Switch a vector on, or to another scale. Raises GuardRefused where general text suffers."""
        slots = [one for one in self.slots() if one.name != slot.name] + [slot]
        if len(slots) > SLOTS:
            raise GuardRefused(f"{SLOTS} vectors are on already: turn one off first")
        ratio = self._ratio(slots)
        if not ratio <= self._most_nll:  # nan is no
            raise GuardRefused(
                f"{slot.name} * {slot.scale:g} would raise the NLL of general text {ratio:.2f} times (most:"
                f" steering.most_nll = {self._most_nll:g}); take a smaller scale"
            )
        return self._change(slots, f"steering {slot.name} * {slot.scale:.3g}", order) | {"nll_ratio": ratio}

    def off(self, name: object, why: str = "by hand", order: Order | None = None) -> dict[str, Any]:
        """Switch one vector off, or all for None. Raises GuardRefused where none is on."""
        before = self.slots()
        gone = [one for one in before if name is None or one.name == name]
        if not gone:
            raise GuardRefused(f"steering vector {name!r} is not on" if name else "no steering vector is on")
        kept = [one for one in before if one not in gone]
        return self._change(kept, f"steering off ({why}): {', '.join(one.name for one in gone)}", order)

    def _ratio(self, slots: list[Slot]) -> float:
        rows = self._rows(slots)
        return 1.0 if rows is None else self._cost(rows)

    def _judge_again(self, slots: list[Slot]) -> None:
        """Switch all vectors off where general text suffers: the weights have changed beneath them."""
        ratio = self._ratio(slots)
        if ratio <= self._most_nll:
            return
        why = f"breach: general NLL {ratio:.2f} times that without, most {self._most_nll:g}"
        done = self.off(None, why)
        with self._store.write() as connection:
            outbox.alert(connection, f"steering off, version {done['version']}: {why}")

    def _hand_over(self, slot: Slot, order: Order) -> dict[str, Any]:
        """Let the learner take over: the scale falls as the probes find the direction in the weights."""
        directions = self._vectors.open(slot.name, slot.vector_id).directions
        taught = [e for e in examples.ready(self._store) if e.direction in directions]
        if not taught:
            made_of = ", ".join(map(repr, directions)) or "no stored correction"
            raise GuardRefused(
                f"{slot.name} was made of {made_of}: nothing of that is there to train on"
                " (`steer extract --direction` makes such a vector)"
            )
        done = self._change(
            [
                one.model_copy(update={"anneal": True}) if one.name == slot.name else one
                for one in self.slots()
            ],
            f"steering {slot.name}: the weights take over",
            order,
        )
        waiting = sum(found.example in taught for found in examples.pending(self._store))
        return done | {"examples": len(taught), "still_to_train": waiting}

    def _change(self, slots: list[Slot], note: str, order: Order | None) -> dict[str, Any]:
        """Make a version with these slots; an order that asked for it knows in the same transaction."""
        began = time.monotonic()
        if self._lineage.unsaved():
            self._rounds.check()

        def record(connection: sqlite3.Connection, version: Version) -> None:
            steering.put(connection, version.id, slots)
            if order is not None:
                order.applied(connection, {"version": version.id, "on": on, "server_wide": True})

        on = {slot.name: slot.scale for slot in slots}
        version = self._lineage.annotate("steer", note, record)
        self.follow()
        self._vectors.forget_earlier(steering.in_use(self._store))
        seconds = round(time.monotonic() - began, 3)
        log.info("steering", slots=[slot.model_dump() for slot in slots], seconds=seconds)
        return {"version": version.id, "on": on, "seconds": seconds, "server_wide": True}

    def _try(self, slot: Slot, arguments: dict[str, Any]) -> dict[str, Any]:
        """Ask the live server without and with the vector (and a random one); the weights, and what is on,
        are those of before. Raises GuardRefused where it does not answer.
        """
        prompts = arguments.get("prompts")
        if not isinstance(prompts, list) or not 0 < len(prompts) <= MOST_PROMPTS:
            raise InputError(f"args.prompts must be 1 to {MOST_PROMPTS} texts")
        rows = self._vectors.rows(slot.name, slot.scale, slot.layer)
        before = self._live.steering() if self._live.steers else None
        trials: dict[str, Tensor | None] = {"off": None, "on": rows}
        if arguments.get("random"):
            trials["random"] = random_rows(rows, 0)
        try:
            return {what: self._answers(trial, prompts) for what, trial in trials.items()}
        except Unreachable as error:
            raise GuardRefused(str(error)) from error
        finally:
            self._steer(before)

    def _answers(self, rows: Tensor | None, prompts: list[str]) -> list[str]:
        self._steer(rows)
        return self._server.answers([[{"role": "user", "content": str(prompt)}] for prompt in prompts])

    def _steer(self, rows: Tensor | None) -> None:
        """Steer, and let no cached prefix of before be taken for one of now."""
        self._live.steer(rows)
        position = self._live.position()
        self._live.mark(position.version, position.step)

    def _rows(self, slots: list[Slot]) -> Tensor | None:
        """Return the sum of what the slots add; one whose file is gone is left out, and said."""
        whole = None
        for slot in slots:
            try:
                rows = self._vectors.rows(slot.name, slot.scale, slot.layer, slot.vector_id)
            except InputError as error:
                log.error("steering vector left out", name=slot.name, reason=str(error))
                continue
            whole = rows if whole is None else torch.add(whole, rows)
        return whole


def _layer(arguments: dict[str, Any]) -> int | None:
    if arguments.get("layer") is None:
        return None
    layer = number_of(arguments, "layer", 0)
    if layer != int(layer):
        raise InputError(f"args.layer must be the number of a layer, not {layer}")
    return int(layer)
