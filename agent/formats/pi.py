"""pi and OpenClaw session files: JSONL, flat (version 1) or a tree by `id` and `parentId` (versions 2 and 3).

The order of the file is the order of the conversation. Where an entry goes back in the tree, the user took
back what came in between and went on from there: the next prompt is marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from agent.formats.base import Parsed, Place, Remark
from agent.formats.state import State, StatefulReader
from agent.formats.turns import (
    Times,
    call,
    conversation_name,
    digest,
    kind_of,
    make_turn,
    refuse,
    text_of,
    unknown,
    word,
)
from agent.formats.wrappers import is_command, unwrap
from policies.sentences import word_set

CIRCULAR = "an entry is its own ancestor"
NO_PARENT = "the parent of an entry is not there"
TAKEN_ID = "an entry has the id of another one"

_METADATA = word_set(
    """
    model_change thinking_level_change compaction branch_summary custom custom_message label session_info leaf
    active_tools_change mode_change
    """
)
_NOT_IN_THE_USERS_PLACE = frozenset(("branchSummary", "compactionSummary", "bashExecution", "custom"))
_BROKEN_OFF = frozenset(("aborted", "error"))
_KEPT_ENTRIES = 1024


class _State(State):
    """`parents`: the latest entries of the tree, by what each follows. `missing`: parents not there."""

    session: str = ""
    model: str | None = None
    times: Times = Times()
    interrupted: bool = False
    parents: dict[str, str | None] = Field(default_factory=dict)
    missing: list[str] = Field(default_factory=list)
    forgotten: bool = False
    last: str | None = None


class Pi:
    """pi and OpenClaw sessions."""

    name = "pi"

    def accepts(self, record: Any) -> bool:
        """Look for the head of a session, a message entry, or a note in the tree."""
        if not isinstance(record, Mapping):
            return False
        kind = word(record, "type")
        if kind == "session":
            return "id" in record
        if kind == "message":
            message = record.get("message")
            return isinstance(message, Mapping) and "role" in message
        return kind in _METADATA and {"id", "parentId", "timestamp"} <= record.keys()

    def reader(self, state: str = "") -> PiReader:
        """Return a reader of one session file."""
        return PiReader(_State.restored(state))


class PiReader(StatefulReader[_State]):
    """Reads one session file."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take the next entry."""
        if not isinstance(record, Mapping):
            return refuse(place, "a JSON object is needed", record)
        kind = word(record, "type")
        if kind == "session":
            return self._head(record)
        if kind != "message" and kind not in _METADATA:
            return unknown(place, kind_of(record), record)
        result = Parsed(remarks=self._follow(record, place))
        if kind == "message":
            message = record.get("message")
            if not isinstance(message, Mapping):
                return result + refuse(place, "message: an object is needed", record)
            return result + self._message(record, message, place)
        return result + Parsed(metadata=1)

    def _head(self, record: Mapping[str, Any]) -> Parsed:
        """Take a head; one that comes after entries without a head names their session too."""
        session = record.get("id")
        if isinstance(session, str) and session and session != self._state.session:
            self._state = _State(session=session, times=self._state.times)
        return Parsed(metadata=1)

    def _follow(self, record: Mapping[str, Any], place: Place) -> tuple[Remark, ...]:
        """Keep the place in the tree; note a jump back, a circle, an id taken twice, a missing parent."""
        entry, parent = record.get("id"), record.get("parentId")
        if not isinstance(entry, str):
            return ()
        parent = parent if isinstance(parent, str) else None
        state, known = self._state, self._state.parents
        kinds = []
        if entry in known:
            kinds.append(TAKEN_ID)
        elif entry == parent:
            kinds.append(CIRCULAR)
        elif parent is not None and parent not in known and not state.forgotten:
            state.missing = [*state.missing, parent][-_KEPT_ENTRIES:]
            kinds.append(NO_PARENT)
        elif state.last is not None and parent != state.last:
            state.interrupted = True
        known.setdefault(entry, parent)
        if entry in state.missing and self._is_below(parent, entry):
            kinds.append(CIRCULAR)
        state.last = entry
        while len(known) > _KEPT_ENTRIES:
            state.forgotten = True
            del known[next(iter(known))]
        return tuple(Remark(place.at, kind) for kind in kinds)

    def _is_below(self, entry: str | None, ancestor: str) -> bool:
        seen: set[str] = set()
        while entry is not None and entry not in seen:
            if entry == ancestor:
                return True
            seen.add(entry)
            entry = self._state.parents.get(entry)
        return False

    def _message(self, record: Mapping[str, Any], message: Mapping[str, Any], place: Place) -> Parsed:
        role, content = word(message, "role"), message.get("content")
        if role in _NOT_IN_THE_USERS_PLACE:
            return Parsed(metadata=1)
        ts, odd = self._state.times.read(record.get("timestamp", message.get("timestamp")), place)
        result = Parsed(remarks=odd)
        if not isinstance(content, str | list):
            return result + refuse(place, "message.content: text or a list is needed", record)
        if role == "user":
            return result + self._user(record, content, ts, place)
        if role == "assistant":
            return result + self._assistant(record, message, ts, place)
        if role == "toolResult":
            call_id = message.get("toolCallId")
            call_id = call_id if isinstance(call_id, str) else None
            return result + self._turn(record, "tool", text_of(content), ts, place, call_id=call_id)
        return result + unknown(place, f"message of {role}", record)

    def _user(self, record: Mapping[str, Any], content: Any, ts: int, place: Place) -> Parsed:
        parts = content if isinstance(content, list) else [content]
        unwrapped = [unwrap(text_of(part)) for part in parts]
        typed = "\n".join(one.typed for one in unwrapped if one.typed.strip())
        result = Parsed()
        for one in unwrapped:
            for rule in one.rules:
                result += self._turn(record, "system", rule, ts, place)
        if not typed or is_command(typed):
            return result + Parsed(noise=1)
        interrupted, self._state.interrupted = self._state.interrupted, False
        return result + self._turn(record, "user", typed, ts, place, interrupted=interrupted)

    def _assistant(
        self, record: Mapping[str, Any], message: Mapping[str, Any], ts: int, place: Place
    ) -> Parsed:
        content = message["content"]
        parts = content if isinstance(content, list) else [content]
        calls = [p for p in parts if isinstance(p, Mapping) and p.get("type") in ("toolCall", "tool_use")]
        texts = [p for p in parts if not isinstance(p, Mapping) or p.get("type") == "text"]
        reason = word(message, "stopReason")
        broken_off = reason in _BROKEN_OFF
        if broken_off:
            self._state.interrupted = True
        turn = self._turn(
            record,
            "assistant",
            text_of(texts, "\n\n"),
            ts,
            place,
            calls=[call(p.get("id"), p.get("name"), p.get("arguments", p.get("input"))) for p in calls],
            model=message.get("model"),
            interrupted=broken_off,
        )
        return turn + Parsed(interrupts=int(reason == "aborted"))

    def _turn(
        self, record: Mapping[str, Any], role: Any, content: str, ts: int, place: Place, **more: Any
    ) -> Parsed:
        if not self._state.session:
            self._state.session = f"pi-{digest(record)}"
        key = record.get("id") if isinstance(record.get("id"), str) else place.position
        return make_turn(place, conversation_name(self._state.session), key, role, content, ts=ts, **more)
