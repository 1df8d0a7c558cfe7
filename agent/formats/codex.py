"""Codex CLI rollouts: `~/.codex/sessions/YYYY/MM/DD/rollout-*.jsonl`.

`response_item` lines are what the model saw and wrote; `event_msg` lines are what the person saw. Most
messages stand in both, some only in one of them: the second of two that say the same is dropped. What one
response of the model holds (a message, then calls) is one turn. Early files hold the items without envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from agent.formats.base import Parsed, Place
from agent.formats.draft import Draft, DraftingReader, DraftState
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
from agent.formats.wrappers import unwrap
from policies.sentences import word_set

_CALLS = frozenset(("function_call", "custom_tool_call", "local_shell_call"))
_RESULTS = frozenset(("function_call_output", "custom_tool_call_output", "local_shell_call_output"))
_SILENT_ITEMS = word_set(
    """
    reasoning web_search_call image_generation_call ghost_snapshot compaction compaction_summary other
    tool_search_call tool_search_output context_compaction file_search_call code_interpreter_call
    """
)
_ENVELOPES = word_set("session_meta response_item event_msg turn_context compacted")
_ITEMS = _CALLS | _RESULTS | _SILENT_ITEMS | {"message"}
_ENDING_EVENTS = word_set("token_count task_complete task_completed turn_complete")
_KEPT_TWINS = 16


class _State(DraftState):
    """`unmatched`: messages lately given, whose twin in the other kind of line may still come."""

    session: str = ""
    seed: str = ""
    """Names a rollout that has no head: the hash of its first line."""
    spoken: bool = False
    model: str | None = None
    times: Times = Times()
    interrupted: bool = False
    unmatched: dict[str, list[str]] = Field(default_factory=dict)
    rules: list[str] = Field(default_factory=list)


class Codex:
    """Codex rollouts."""

    name = "codex"

    def accepts(self, record: Any) -> bool:
        """Look for an envelope with its payload, or for the lines of an early file."""
        if not isinstance(record, Mapping):
            return False
        if isinstance(record.get("payload"), Mapping):
            return word(record, "type") in _ENVELOPES
        if record.get("record_type") == "state":
            return True
        early_head = {"id", "timestamp", "instructions"} <= record.keys() and "type" not in record
        kind = word(record, "type")
        early_item = (kind == "message" and "role" in record) or (
            kind in _CALLS | _RESULTS and "call_id" in record
        )
        return early_head or early_item

    def reader(self, state: str = "") -> CodexReader:
        """Return a reader of one rollout."""
        return CodexReader(_State.restored(state))


class CodexReader(DraftingReader[_State]):
    """Reads one rollout."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take the next line."""
        self._now_ms = place.now_ms
        if not isinstance(record, Mapping):
            return refuse(place, "a JSON object is needed", record)
        self._state.seed = self._state.seed or digest(record)
        kind, payload = word(record, "type"), record.get("payload")
        if kind in _ENVELOPES:
            if not isinstance(payload, Mapping):
                return refuse(place, "payload: an object is needed", record)
            ts, odd = self._state.times.read(record.get("timestamp"), place)
            return Parsed(remarks=odd) + self._enveloped(kind, payload, ts, place)
        if kind in _ITEMS:
            ts, _ = self._state.times.read(record.get("timestamp"), place)
            return self._item(record, ts, place)
        if record.get("record_type") == "state":
            return Parsed(metadata=1)
        if not kind and "id" in record and "timestamp" in record:
            ts, odd = self._state.times.read(record.get("timestamp"), place)
            return Parsed(remarks=odd) + self._meta(record, ts, place)
        return unknown(place, kind_of(record), record)

    def _enveloped(self, kind: str, payload: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        if kind == "response_item":
            return self._item(payload, ts, place)
        if kind == "event_msg":
            return self._event(payload, ts, place)
        if kind == "session_meta":
            return self._meta(payload, ts, place)
        if kind == "turn_context":
            model = payload.get("model")
            self._state.model = model if isinstance(model, str) else self._state.model
            texts = (payload.get("developer_instructions"), payload.get("user_instructions"))
            return self.end() + self._rules(texts, ts, place) + Parsed(metadata=1)
        return self.end() + Parsed(metadata=1)

    def _meta(self, meta: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        """Take the session's head. A copy of another one's, as in a fork, follows before anything is said."""
        done = self.end()
        session = meta.get("id")
        if isinstance(session, str) and (self._state.spoken or not self._state.session):
            self._state = _State(session=session, times=self._state.times)
        base = meta.get("base_instructions")
        texts = (base.get("text") if isinstance(base, Mapping) else base, meta.get("instructions"))
        return done + self._rules(texts, ts, place) + Parsed(metadata=1)

    def _item(self, item: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        kind = word(item, "type")
        if kind == "message":
            return self._message(item, ts, place)
        if kind in _CALLS:
            return self._call(item, ts, place)
        if kind in _RESULTS:
            return self.end() + self._result(item, ts, place)
        if kind in _SILENT_ITEMS:
            return Parsed(metadata=1)
        return unknown(place, kind_of(item), item)

    def _message(self, item: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        role, content = word(item, "role"), item.get("content")
        if not isinstance(content, str | list):
            return refuse(place, "content: text or a list is needed", item)
        if role == "assistant":
            return self._answer(text_of(content), "item", ts, place)
        if role == "user":
            return self._user(content if isinstance(content, list) else [content], "item", ts, place)
        if role in ("developer", "system"):
            return self.end() + self._rules([text_of(content)], ts, place, role="developer")
        return refuse(place, f"role: {role!r} is none of a rollout", item)

    def _event(self, event: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        kind = word(event, "type")
        if kind == "user_message":
            images = event.get("images") or event.get("local_images")
            parts = [event.get("message"), *([{"type": "image"}] if images else [])]
            return self._user(parts, "event", ts, place)
        if kind == "agent_message" and isinstance(event.get("message"), str):
            return self._answer(event["message"], "event", ts, place)
        if kind == "turn_aborted":
            return self._aborted("event")
        if kind == "thread_rolled_back":
            self._state.interrupted = True
            return self.end() + Parsed(metadata=1)
        return (self.end() if kind in _ENDING_EVENTS else Parsed()) + Parsed(metadata=1)

    def _answer(self, text: str, line: str, ts: int, place: Place) -> Parsed:
        if not text.strip() or self._has_twin("assistant", line, text):
            return Parsed()
        done = self.end()
        self._draft(ts, place).add_text(text)
        return done

    def _call(self, item: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        draft = self._state.draft or self._draft(ts, place)
        arguments = item.get("arguments", item.get("input", item.get("action")))
        draft.add_call(
            call(item.get("call_id") or item.get("id"), item.get("name") or item.get("type"), arguments)
        )
        return Parsed()

    def _draft(self, ts: int, place: Place) -> Draft:
        conversation = self._conversation()
        self._state.spoken = True
        self._state.draft = Draft(
            key="",
            conversation=conversation,
            at=place.at,
            position=place.position,
            ts=ts,
            identity=str(place.position),
            model=self._state.model,
        )
        return self._state.draft

    def _result(self, item: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        call_id = item.get("call_id") or item.get("id")
        self._state.spoken = True
        return make_turn(
            place,
            self._conversation(),
            place.position,
            "tool",
            text_of(item.get("output")),
            ts=ts,
            call_id=call_id if isinstance(call_id, str) else None,
        )

    def _user(self, parts: list[Any], line: str, ts: int, place: Place) -> Parsed:
        """Read what stands in the user's place; the editor's and the harness's own parts are taken off."""
        unwrapped = [unwrap(text_of(part)) for part in parts]
        typed = "\n".join(one.typed for one in unwrapped if one.typed.strip())
        rules = self._rules([rule for one in unwrapped for rule in one.rules], ts, place)
        if not typed and any("<turn_aborted>" in text_of(part) for part in parts):
            return self._aborted("item")
        result = self.end() + rules
        if not typed:
            return result + Parsed(noise=1)
        if self._has_twin("user", line, typed):
            return result
        self._state.spoken = True
        interrupted, self._state.interrupted = self._state.interrupted, False
        return result + make_turn(
            place, self._conversation(), place.position, "user", typed, ts=ts, interrupted=interrupted
        )

    def _aborted(self, line: str) -> Parsed:
        """Count an abort once, though it may stand in both kinds of line."""
        self._state.interrupted = True
        if self._state.draft is not None:
            self._state.draft.interrupted = True
        done = self.end()
        return done if self._has_twin("abort", line, "aborted") else done + Parsed(interrupts=1)

    def _has_twin(self, what: str, line: str, text: str) -> bool:
        """Say whether the other kind of line gave this already; what is new waits for its twin."""
        text = digest(" ".join(text.replace("[image]", "").split()))
        other = self._state.unmatched.setdefault(f"{what} {'event' if line == 'item' else 'item'}", [])
        if text in other:
            other.remove(text)
            return True
        own = f"{what} {line}"
        self._state.unmatched[own] = [*self._state.unmatched.get(own, []), text][-_KEPT_TWINS:]
        return False

    def _rules(self, texts: Any, ts: int, place: Place, role: Any = "system") -> Parsed:
        """Keep instructions and project files, each once."""
        result = Parsed()
        for text in texts:
            if not isinstance(text, str) or not text.strip() or digest(text) in self._state.rules:
                continue
            self._state.rules = [*self._state.rules, digest(text)][-_KEPT_TWINS:]
            conversation = self._conversation()
            result += make_turn(place, conversation, ["rules", digest(text)], role, text, ts=ts)
        return result

    def _conversation(self) -> str:
        return conversation_name(self._state.session or f"codex-{self._state.seed}")
