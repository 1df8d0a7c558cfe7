"""The conversations that go on, in memory: a turn costs what it brings, not what came before it."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict

from policies.constraints import Detect
from policies.directions import Force, advance
from policies.turn import Turn
from store import events

_KEPT = 64
"""Conversations held; the least lately used one goes, and is read from the store when it goes on."""


class Conversation:
    """The turns of one conversation, and what was in force at the place up to which nothing changes."""

    def __init__(self, conversation_id: str) -> None:
        self.turns: list[Turn] = []
        self.known: tuple[int, Force] = (0, Force())
        self._id = conversation_id
        self._last = 0

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Read the turns that came since, whoever wrote them."""
        more, self._last = events.conversation(connection, self._id, self._last)
        self.turns += more

    def settle(self, place: int, detect: Detect | None) -> None:
        """Follow what is in force up to `place`; nobody will ask for an earlier one, but for corrections."""
        begin, force = self.known
        for turn in self.turns[begin:place]:
            force = advance(force, turn, detect)
        self.known = (max(begin, place), force)


class Conversations:
    """The conversations lately written to by this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Conversation] = OrderedDict()

    def get(self, connection: sqlite3.Connection, conversation_id: str) -> Conversation:
        """Return one conversation as the store has it now."""
        found = self._kept.pop(conversation_id, None) or Conversation(conversation_id)
        found.catch_up(connection)
        self._kept[conversation_id] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def forget(self) -> None:
        """Drop everything: a transaction was rolled back, and some of this never came to be."""
        self._kept.clear()
