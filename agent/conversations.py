"""The conversations that go on, in memory: a turn costs what it brings, not what came before it."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict

from policies.constraints import Detect
from policies.directions import Force, advance
from policies.turn import Turn
from store import events

_KEPT_CHARACTERS = 8_000_000
"""Text held; the least lately used conversation goes first, and is read from the store when it goes on."""
_CHARACTERS_OF_A_TURN = 3_000
"""What a turn counts for beside its text, about what its objects take (docs/log.md). They cost time, too:
each full garbage collection visits all.
"""


class Conversation:
    """The turns of one conversation, what was in force up to a place, and the last word on its decisions.

    `judged` is a hash of what was said last, by decision id.
    """

    def __init__(self, conversation_id: str) -> None:
        self.turns: list[Turn] = []
        self.known: tuple[int, Force] = (0, Force())
        self.judged: dict[str, int] = {}
        self.characters = 0
        self._id = conversation_id
        self._last = 0

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Read the turns that came since, whoever wrote them."""
        more, self._last = events.conversation(connection, self._id, self._last)
        self.turns += more
        self.characters += sum(len(turn.content) + _CHARACTERS_OF_A_TURN for turn in more)

    def settle(self, place: int, detect: Detect | None) -> None:
        """Follow what is in force up to `place`; nobody will ask for an earlier one, but for corrections."""
        begin, force = self.known
        if place > begin:
            for turn in self.turns[begin:place]:
                force = advance(force, turn, detect)
            self.known = (place, force)
            self.judged.clear()


class Conversations:
    """The conversations lately written to by this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Conversation] = OrderedDict()
        self._characters = 0
        self._seen_version = 0

    def get(self, connection: sqlite3.Connection, conversation_id: str) -> Conversation:
        """Return one conversation as the store has it now."""
        found = self._kept.pop(conversation_id, None) or Conversation(conversation_id)
        self._characters -= found.characters
        found.catch_up(connection)
        self._kept[conversation_id] = found
        self._characters += found.characters
        while self._characters > _KEPT_CHARACTERS and len(self._kept) > 1:
            self._characters -= self._kept.popitem(last=False)[1].characters
        return found

    def begin(self, connection: sqlite3.Connection) -> None:
        """Notice at the start of a transaction whether another process wrote: its word on labels counts."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._seen_version:
            for conversation in self._kept.values():
                conversation.judged.clear()
        self._seen_version = version

    def forget(self) -> None:
        """Drop everything: a transaction was rolled back, and some of this never came to be."""
        self._kept.clear()
        self._characters = 0
