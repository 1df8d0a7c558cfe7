"""From records to rows: turns, corrections and commands, each call one write transaction, each event once.

What a call changes belongs together: the events, the decision points and labels that they make or change,
the examples, and the label events for the bus. No asyncio here: the command line calls it too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

from agent.conversations import Conversation, Conversations
from agent.formats import parse_line
from agent.reading import default_labellers
from agent.sources.jsonl import Chunk
from policies.config import Config
from policies.constraints import Detect
from policies.decision import DecisionPoint
from policies.errors import InputError
from policies.labelling import Case, Judgement, cases, judge
from policies.messages import CorrectionPayload, LabelEvent
from policies.pairs import correction_example, general_example
from policies.parsing import Rejected, decode, parse_command, parse_correction, parse_turns
from policies.parsing import rejected as reject
from policies.turn import Turn
from policies.window import recent
from store import commands, corrections, dead_letters, decisions, events, examples, labels, offsets, outbox
from store.clock import new_id, now_ms, rfc3339
from store.database import Store
from store.wakeup import notify

_TURN_HAS_NOT_COME = "the turn it corrects has not come; it is applied when it comes"
_ID_IS_TAKEN = "another turn has this event_id already"
_CHARACTERS_PER_TOKEN = 8
"""Generous: the learner cuts by tokens; this only keeps examples from repeating megabytes of log."""

Outcome = Literal["applied", "waiting", "rejected", "duplicate"]
"""What became of a correction or command; `waiting`: for its turn, or for the learner."""


class Ingest:
    """Writes what arrives into one store. `detect` names the language of a text, or is None."""

    def __init__(self, store: Store, config: Config, detect: Detect | None) -> None:
        self._store = store
        self._config = config
        self._detect = detect
        self._conversations = Conversations()
        self._labellers = default_labellers(detect)

    def turns(self, agent: str, payload: bytes | dict[str, Any], source: str) -> None:
        """Keep one turn, or `{"conversation_id", "turns": [...]}`; a bad record becomes a dead letter."""
        turns, bad = self._read_turns(payload, "message")
        self.keep(agent, turns, bad, source)

    def keep(self, agent: str, turns: Sequence[Turn], bad: Sequence[Rejected], source: str) -> list[Turn]:
        """Keep turns that are parsed already, and what could not be parsed. Returns the new turns."""
        with self._writing() as connection:
            self._bury(connection, source, bad)
            return self._keep_turns(connection, agent, turns, source)

    def log_lines(self, agent: str, chunk: Chunk) -> None:
        """Keep the turns of some lines of a log, together with the place behind them."""
        turns: list[Turn] = []
        bad: list[Rejected] = []
        for line in chunk.lines:
            if line.content.strip() or line.too_long:
                parsed = parse_line(line, f"from byte {chunk.begin}", now_ms())
                turns += parsed.turns
                bad += [replace(one, size=line.size) if line.too_long else one for one in parsed.rejected]
        source = f"jsonl:{chunk.place.path}"
        with self._writing() as connection:
            self._bury(connection, source, bad)
            self._keep_turns(connection, agent, turns, source)
            offsets.put(connection, chunk.place)

    def correction(self, agent: str, payload: bytes | dict[str, Any], source: str) -> Outcome:
        """Keep one correction and apply it; one whose turn has not come waits for it."""
        try:
            correction = parse_correction(_decoded(payload), now_ms())
        except InputError as error:
            self.keep(agent, [], [reject("correction", str(error), payload)], source)
            return "rejected"
        with self._writing() as connection:
            if not corrections.insert(connection, agent, correction):
                return "duplicate"
            turn = events.get(connection, correction.turn_event_id)
            if turn is None:
                letter = reject("correction", _TURN_HAS_NOT_COME, correction.model_dump(mode="json"))
                self._bury(connection, source, [letter])
                return "waiting"
            if not self._settle(connection, turn, source):
                return "rejected"
            conversation = self._conversations.get(connection, turn.conversation_id)
            self._judge(connection, conversation, conversation.turns.index(turn), only=turn.event_id)
            return "applied"

    def command(self, agent: str, payload: bytes | dict[str, Any], source: str) -> Outcome:
        """Keep one command for the learner."""
        try:
            command = parse_command(_decoded(payload), now_ms())
        except InputError as error:
            self.keep(agent, [], [reject("command", str(error), payload)], source)
            return "rejected"
        with self._writing() as connection:
            return "waiting" if commands.insert(connection, agent, command) else "duplicate"

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run one write transaction, then wake those who look at what it wrote."""
        try:
            with self._store.write() as connection:
                yield connection
        except BaseException:
            self._conversations.forget()
            raise
        notify(self._store.path.parent, "learner")
        notify(self._store.path.parent, "loop")

    def _read_turns(self, payload: bytes | dict[str, Any], place: str) -> tuple[list[Turn], list[Rejected]]:
        try:
            turns, bad = parse_turns(_decoded(payload), now_ms(), place)
        except InputError as error:
            return [], [reject(place, str(error), payload)]
        return turns, [reject(place, one.reason, payload) if one.place == place else one for one in bad]

    def _bury(self, connection: sqlite3.Connection, source: str, bad: Iterable[Rejected]) -> None:
        for record in bad:
            dead_letters.keep(
                connection, f"{source} ({record.place})", record.reason, record.payload, record.size
            )

    def _keep_turns(
        self, connection: sqlite3.Connection, agent: str, turns: Sequence[Turn], source: str
    ) -> list[Turn]:
        new = events.insert(connection, agent, turns, source)
        for turn in events.conflicting(connection, turns):
            self._bury(connection, source, [reject("turn", _ID_IS_TAKEN, turn.model_dump(mode="json"))])
        for turn in new:
            self._settle(connection, turn, source)
        ordered = sorted(new, key=lambda turn: turn.conversation_id)
        for conversation_id, group in groupby(ordered, key=lambda turn: turn.conversation_id):
            conversation = self._conversations.get(connection, conversation_id)
            start = _open_from(conversation.turns, len(conversation.turns) - len(list(group)))
            conversation.settle(start, self._detect)
            self._judge(connection, conversation, start)
        return new

    def _settle(self, connection: sqlite3.Connection, turn: Turn, source: str) -> bool:
        """Accept or reject the waiting corrections of a turn. Returns True where one was accepted."""
        accepted = False
        for correction in corrections.of_turn(connection, turn.event_id, ("waiting",)):
            reason = _not_applicable(correction, turn)
            dead_letters.recall(connection, _TURN_HAS_NOT_COME, correction.event_id)
            if reason is None:
                corrections.set_state(connection, correction.event_id, "applied")
                accepted = True
            else:
                corrections.set_state(connection, correction.event_id, "rejected")
                self._bury(connection, source, [reject("correction", reason, correction.model_dump())])
        return accepted

    def _judge(
        self, connection: sqlite3.Connection, conversation: Conversation, start: int, only: str | None = None
    ) -> None:
        """Label the decision points of one conversation from a place on, and keep what that changes.

        With `only`, the event id of the turn at `start`, nothing behind that turn is looked at again.
        """
        turns = conversation.turns
        said = {
            turn.event_id: corrections.of_turn(connection, turn.event_id, ("applied",))
            for turn in (turns[start:] if only is None else turns[start : start + 1])
            if turn.role == "assistant"
        }
        known = conversation.known if conversation.known[0] <= start else None
        for case in cases(turns, said, start=start, detect=self._detect, known=known):
            if only is not None and case.decision.turn.event_id != only:
                break
            self._keep_judgement(connection, case, judge(case, self._labellers))

    def _keep_judgement(self, connection: sqlite3.Connection, case: Case, judgement: Judgement) -> None:
        decisions.insert(connection, case.decision)
        decisions.insert_directions(connection, case.decision.id, judgement.stated)
        changed = labels.replace(connection, case.decision.id, judgement.labels)
        for label in changed:
            if label.verdict != "unknown":
                outbox.put(
                    connection,
                    LabelEvent(
                        ts=rfc3339(now_ms()), **label.model_dump(exclude={"direction_id", "evidence"})
                    ),
                )
        if changed:
            self._keep_example(connection, case, judgement)

    def _keep_example(self, connection: sqlite3.Connection, case: Case, judgement: Judgement) -> None:
        decision = self._shortened(case.decision)
        example = correction_example(
            new_id(),
            decision,
            judgement.labels,
            correction=case.corrections[-1] if case.corrections else None,
            stated=judgement.stated,
            train_above=self._config.labels.train_above,
            detect=self._detect,
        )
        if example is not None:
            quota = self._config.training.uses_per_example
            examples.upsert_correction_example(connection, example, quota)
            return
        examples.withdraw(connection, decision.id, "correction")
        ordinary = general_example(new_id(), decision, judgement.labels)
        if ordinary is not None:
            examples.add_general_example(connection, ordinary)
        else:
            examples.withdraw(connection, decision.id, "general")

    def _shortened(self, decision: DecisionPoint) -> DecisionPoint:
        return recent(decision, self._config.training.max_context_tokens * _CHARACTERS_PER_TOKEN)


def _decoded(payload: bytes | dict[str, Any]) -> object:
    return decode(payload) if isinstance(payload, bytes) else payload


def _not_applicable(correction: CorrectionPayload, turn: Turn) -> str | None:
    """Return why a correction cannot be applied to its turn, None when it can."""
    if turn.role != "assistant":
        return f"turn_event_id: that turn is a {turn.role} turn, only an assistant's can be corrected"
    if turn.conversation_id != correction.conversation_id:
        return "conversation_id: the corrected turn belongs to another conversation"
    return None


def _open_from(turns: Sequence[Turn], first: int) -> int:
    """Return where the decisions begin whose evidence the turns from `first` on may change.

    A reaction ends with the next user turn: decisions before the last user turn have theirs.
    """
    place = first - 1
    while place >= 0 and turns[place].role != "user":
        place -= 1
    return place + 1
