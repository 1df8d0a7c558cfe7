"""Claude Code session files: `~/.claude/projects/<project>/<session>.jsonl`, and its `stream-json` output.

A record is a message or a note of the harness. One answer of the model is written as one record per block;
the blocks of one message id are one turn. A sub-agent's records (`isSidechain`) are a conversation of their
own, whose prompt was written by the main agent and by no person.
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

_METADATA = word_set(
    """
    summary file-history-snapshot file-history-delta queue-operation system progress last-prompt
    custom-title ai-title agent-name agent-color agent-setting tag pr-link mode permission-mode result
    rate_limit_event stream_event content-replacement worktree-state task-summary tool_use_summary
    attribution-snapshot tool_progress auth_status bridge-session checkpoint started
    """
)
_OWN_NOTES = {"summary": "leafUuid", "file-history-snapshot": "snapshot", "queue-operation": "operation"}
_NOT_THE_MODEL = "<synthetic>"
_COMPLETE = frozenset(("end_turn", "stop_sequence", "max_tokens", "refusal"))
_SAID = frozenset(("text", "image", "document"))
_REFUSALS = ("The user doesn't want to ", "[Request interrupted by user")
_KEPT_PROMPTS = 64
_KEPT_CHAINS = 32


class _State(DraftState):
    """`prompts`: what the latest prompts replied to; one that replies to the same replaces another.
    `chains`: the latest records of each sub-agent without an id, by the record that began it.
    """

    session: str = ""
    times: dict[str, Times] = Field(default_factory=dict)
    interrupted: bool = False
    prompts: list[str] = Field(default_factory=list)
    chains: dict[str, list[str]] = Field(default_factory=dict)


class ClaudeCode:
    """Claude Code sessions."""

    name = "claude-code"

    def accepts(self, record: Any) -> bool:
        """Look for a message in its envelope, or for a note that only this harness writes."""
        if not isinstance(record, Mapping):
            return False
        if isinstance(record.get("message"), Mapping) and word(record, "type") in ("user", "assistant"):
            return True
        kind = word(record, "type")
        if kind in _OWN_NOTES:
            return _OWN_NOTES[kind] in record
        return kind in _METADATA and ("sessionId" in record or "session_id" in record)

    def reader(self, state: str = "") -> ClaudeCodeReader:
        """Return a reader of one session file."""
        return ClaudeCodeReader(_State.restored(state))


class ClaudeCodeReader(DraftingReader[_State]):
    """Reads one session file."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take the next record."""
        self._now_ms = place.now_ms
        if not isinstance(record, Mapping):
            return refuse(place, "a JSON object is needed", record)
        kind = word(record, "type")
        if kind in ("user", "assistant"):
            message = record.get("message")
            if not isinstance(message, Mapping):
                return refuse(place, "message: an object is needed", record)
            take = self._user if kind == "user" else self._assistant
            return take(record, message, place)
        if kind == "attachment":
            return self._attachment(record, place)
        if kind in _METADATA:
            return Parsed(metadata=1)
        return unknown(place, kind_of(record), record)

    def _assistant(self, record: Mapping[str, Any], message: Mapping[str, Any], place: Place) -> Parsed:
        if message.get("model") == _NOT_THE_MODEL or record.get("isApiErrorMessage"):
            return Parsed(metadata=1)
        content = message.get("content")
        if not isinstance(content, str | list):
            return refuse(place, "message.content: text or a list is needed", record)
        conversation = self._conversation(record)
        key = conversation_name(conversation, message.get("id") or record.get("uuid") or place.position)
        done = Parsed()
        if self._state.draft is None or self._state.draft.key != key:
            done = self.end()
            ts, odd = self._time(conversation, record, place)
            done += Parsed(remarks=odd)
            self._state.draft = Draft(
                key=key,
                conversation=conversation,
                at=place.at,
                position=place.position,
                ts=ts,
                identity=str(record.get("uuid") or place.position),
                model=word(message, "model") or None,
            )
        results = self._add(self._state.draft, content)
        if results or word(message, "stop_reason") in _COMPLETE:
            ts = self._state.draft.ts
            done += self.end()
            for number, part in results:
                done += self._tool_result(record, part, (conversation, number, ts), place)
        return done

    def _add(self, draft: Draft, content: str | list[Any]) -> list[tuple[int, Mapping[str, Any]]]:
        """Add the blocks of a message; return the results among them, which some versions put there."""
        results = []
        for number, block in enumerate(content if isinstance(content, list) else [content]):
            if isinstance(block, str):
                draft.add_text(block)
                continue
            kind = word(block, "type") if isinstance(block, Mapping) else ""
            if kind == "tool_use":
                draft.add_call(call(block.get("id"), block.get("name"), block.get("input")))
            elif kind == "text":
                draft.add_text(text_of(block))
            elif kind == "tool_result":
                results.append((number, block))
        return results

    def _user(self, record: Mapping[str, Any], message: Mapping[str, Any], place: Place) -> Parsed:
        content = message.get("content")
        if not isinstance(content, str | list):
            return refuse(place, "message.content: text or a list is needed", record)
        conversation = self._conversation(record)
        ts, odd = self._time(conversation, record, place)
        parts = [content] if isinstance(content, str) else content
        result = Parsed(remarks=odd)
        said: list[Any] = []
        for number, part in enumerate(parts):
            if isinstance(part, Mapping) and part.get("type") == "tool_result":
                result += self.end()
                result += self._tool_result(record, part, (conversation, number, ts), place)
            elif part is content or (isinstance(part, Mapping) and word(part, "type") in _SAID):
                said.append(part)
            elif isinstance(part, Mapping):
                result += unknown(place.part(f"content[{number}]", number), kind_of(part), record)
            else:
                result += refuse(place.part(f"content[{number}]", number), "an object is needed", record)
        if said:
            result += self._said(record, said, (conversation, ts), place)
        return result

    def _tool_result(
        self, record: Mapping[str, Any], part: Mapping[str, Any], where: tuple[str, int, int], place: Place
    ) -> Parsed:
        conversation, number, ts = where
        text = text_of(part.get("content"))
        call_id = part.get("tool_use_id")
        return make_turn(
            place,
            conversation,
            [record.get("uuid") or place.position, number],
            "tool",
            text,
            ts=ts,
            call_id=call_id if isinstance(call_id, str) else None,
            interrupted=bool(part.get("is_error")) and text.startswith(_REFUSALS),
        )

    def _said(
        self, record: Mapping[str, Any], parts: list[Any], where: tuple[str, int], place: Place
    ) -> Parsed:
        """Read what stands in the user's place, beside results."""
        unwrapped = [unwrap(text_of(part)) for part in parts]
        rules = [rule for one in unwrapped for rule in one.rules]
        result = self._rules(rules, where, place)
        typed = "\n".join(one.typed for one in unwrapped if one.typed.strip())
        interrupts = sum(one.interrupts for one in unwrapped)
        if interrupts:
            self._state.interrupted = True
            if self._state.draft is not None:
                self._state.draft.interrupted = True
        result = self.end() + result + Parsed(interrupts=interrupts)
        if _is_the_harness(record) or not typed:
            return result + Parsed(noise=int(not interrupts))
        return result + self._typed(record, typed, where, place)

    def _typed(self, record: Mapping[str, Any], text: str, where: tuple[str, int], place: Place) -> Parsed:
        conversation, ts = where
        again = self._replaces_another(record)
        interrupted, self._state.interrupted = self._state.interrupted or again, False
        key = record.get("uuid") or place.position
        turn = make_turn(place, conversation, key, "user", text, ts=ts, interrupted=interrupted)
        if not record.get("isSidechain"):
            return turn
        return turn + Parsed(delegated=tuple(one.event_id for one in turn.turns))

    def _rules(self, rules: list[str], where: tuple[str, int], place: Place) -> Parsed:
        """Keep the project files that were injected: they direct like a system prompt."""
        result = Parsed()
        for rule in rules:
            result += make_turn(place, where[0], ["rules", digest(rule)], "system", rule, ts=where[1])
        return result

    def _attachment(self, record: Mapping[str, Any], place: Place) -> Parsed:
        """Read what the harness slipped in: project files, and what was typed while the agent worked."""
        attached = record.get("attachment")
        kind = attached.get("type") if isinstance(attached, Mapping) else None
        if not isinstance(attached, Mapping) or kind not in ("nested_memory", "queued_command"):
            return Parsed(metadata=1)
        conversation = self._conversation(record)
        ts, odd = self._time(conversation, record, place)
        if kind == "nested_memory":
            rule = text_of(attached.get("content"))
            return self._rules([rule] if rule.strip() else [], (conversation, ts), place)
        if attached.get("commandMode", "prompt") != "prompt":
            return Parsed(noise=1, remarks=odd)
        prompt = attached.get("prompt")
        parts = prompt if isinstance(prompt, list) else [prompt]
        return Parsed(remarks=odd) + self._said(record, parts, (conversation, ts), place)

    def _replaces_another(self, record: Mapping[str, Any]) -> bool:
        """Say whether a prompt takes the place of an earlier one: the user went back and wrote another."""
        parent = record.get("parentUuid")
        if not isinstance(parent, str):
            return False
        if parent in self._state.prompts:
            return True
        self._state.prompts = [*self._state.prompts, parent][-_KEPT_PROMPTS:]
        return False

    def _conversation(self, record: Mapping[str, Any]) -> str:
        session = record.get("sessionId") or record.get("session_id")
        if isinstance(session, str):
            self._state.session = session
        elif not self._state.session:
            self._state.session = f"claude-{digest(record)}"
        if record.get("isSidechain"):
            return conversation_name(self._state.session, record.get("agentId") or self._chain(record))
        return conversation_name(self._state.session)

    def _chain(self, record: Mapping[str, Any]) -> str:
        """Return the record that began the sub-agent's chain to which a record belongs."""
        own, parent = str(record.get("uuid")), record.get("parentUuid")
        chains = self._state.chains
        if own in chains:
            return own
        root = next((root for root, latest in chains.items() if parent in latest), None)
        if root is None:
            root = own if parent is None or not chains else next(reversed(chains))
        chains[root] = [*chains.pop(root, []), own][-8:]
        while len(chains) > _KEPT_CHAINS:
            del chains[next(iter(chains))]
        return root

    def _time(self, conversation: str, record: Mapping[str, Any], place: Place) -> tuple[int, Any]:
        times = self._state.times.pop(conversation, None) or Times()
        self._state.times[conversation] = times
        while len(self._state.times) > _KEPT_CHAINS:
            del self._state.times[next(iter(self._state.times))]
        return times.read(record.get("timestamp"), place)


def _is_the_harness(record: Mapping[str, Any]) -> bool:
    """Say whether the record itself says that no person wrote it."""
    if any(record.get(mark) for mark in ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly")):
        return True
    origin = record.get("origin")
    return isinstance(origin, Mapping) and origin.get("kind") not in (None, "human", "user")
