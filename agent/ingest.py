"""From records to rows: turns, corrections and commands, each call one write transaction, each event once.

What a call changes belongs together: the events, the decision points and labels that they make or change,
the examples, and the label events for the bus. No asyncio here: the command line calls it too.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Literal

import structlog

from agent.admission import Admission
from agent.conversations import Conversations
from agent.flow import Refused
from agent.inbound import Inbound
from agent.judging import Judging, touched
from agent.sources.piece import Piece
from policies.config import Config
from policies.constraints import Detect
from policies.errors import InputError
from policies.label import Label
from policies.labelling import Calibration, Case
from policies.messages import CorrectionPayload
from policies.parsing import Rejected, decode, parse_command, parse_correction, parse_turns
from policies.parsing import rejected as reject
from policies.turn import Turn
from store import (
    calibrations,
    commands,
    corrections,
    counters,
    dead_letters,
    events,
    offsets,
    opinions,
    outbox,
    reviews,
)
from store.clock import now_ms
from store.database import Store
from store.redaction import Redaction
from store.wakeup import Process, notify

log = structlog.get_logger(__name__)

_TURN_HAS_NOT_COME = "the turn it corrects has not come; it is applied when it comes"
_ID_IS_TAKEN = "another turn has this event_id already"

Outcome = Literal["applied", "waiting", "held", "rejected", "duplicate"]
"""What became of a correction or command: it waits for its turn or the learner, is held for a person ..."""
Payload = bytes | dict[str, Any]


class Ingest:
    """Writes what arrives into one store. `detect` names the language of a text, or is None."""

    def __init__(self, store: Store, config: Config, detect: Detect | None) -> None:
        self._store = store
        self._detect = detect
        self._conversations = Conversations()
        self._judging = Judging(config, detect)
        self._admission = Admission(config, detect)
        self._redaction = Redaction(store.path.parent)
        self._woken: set[Process] = set()

    def messages(self, batch: Sequence[Inbound], source: str) -> None:
        """Keep a batch of messages in one transaction.

        Where one of them makes it fail, each gets its own, and the one at fault becomes a dead letter.
        """
        try:
            with self._writing() as connection:
                self._keep_messages(connection, batch, source)
        except (sqlite3.Error, OSError):  # the machine's fault, not a message's: they stay unacknowledged
            raise
        except Exception as error:
            if len(batch) > 1:
                for message in batch:
                    self.messages([message], source)
                return
            log.exception("message cannot be processed, kept as a dead letter", channel=batch[0].channel)
            letter = reject(batch[0].channel, f"cannot be processed: {error!r}", batch[0].payload)
            self.keep(batch[0].agent, [], [letter], source)

    def refuse(self, over: Sequence[Refused], source: str) -> None:
        """Keep messages over a limit as dead letters, and count them."""
        with self._writing() as connection:
            for one in over:
                self._bury(connection, source, [reject(one.message.channel, one.reason, one.message.payload)])
                counters.add(connection, one.counter)

    def turns(self, agent: str, payload: Payload, source: str) -> None:
        """Keep one turn, or `{"conversation_id", "turns": [...]}`; a bad record becomes a dead letter."""
        turns, bad = _read_turns(payload)
        self.keep(agent, turns, bad, source)

    def keep(self, agent: str, turns: Sequence[Turn], bad: Sequence[Rejected], source: str) -> list[Turn]:
        """Keep turns that are parsed already, and what could not be parsed. Returns the new turns."""
        with self._writing() as connection:
            self._bury(connection, source, bad)
            return self._keep_turns(connection, [(agent, turns)], source)

    def piece(self, agent: str, piece: Piece) -> None:
        """Keep what was read of a log, together with the place behind it."""
        source = f"log:{piece.offset.path}"
        try:
            with self._writing() as connection:
                self._keep_piece(connection, piece, source)
                self._keep_turns(connection, [(agent, piece.turns)], source)
        except (sqlite3.Error, OSError):
            raise
        except Exception:  # a turn that labelling was not made for: the others go through, then the place
            for turn in piece.turns:
                self._keep_alone(agent, turn, source)
            with self._writing() as connection:
                self._keep_piece(connection, piece, source)

    def correction(self, agent: str, payload: Payload, source: str) -> Outcome:
        """Keep one correction and apply it; one whose turn has not come waits for it."""
        with self._writing() as connection:
            return self._correction(connection, agent, payload, source)

    def accept_correction(self, event_id: str) -> None:
        """Apply a held correction, by a person's word. Raises KeyError for one that never came."""
        with self._writing() as connection:
            correction = corrections.get(connection, event_id)
            if correction is None:
                raise KeyError(event_id)
            reviews.decide(connection, "correction", event_id, "accepted")
            corrections.set_state(connection, event_id, "applied")
            conversation = self._conversations.get(connection, correction.conversation_id)
            turns = [turn.event_id for turn in conversation.turns]
            places = [turns.index(correction.turn_event_id)]
            self._woken |= self._judging.judge(connection, conversation, places)

    def command(self, agent: str, payload: Payload, source: str) -> Outcome:
        """Keep one command for the learner."""
        with self._writing() as connection:
            return self._command(connection, agent, payload, source)

    def case(self, decision_id: str) -> Case | None:
        """Return the case of a decision as it stands now, for a labeller that needs I/O."""
        with self._writing() as connection:
            turn = events.get(connection, decision_id.rpartition("#")[0])
            if turn is None:
                return None
            conversation = self._conversations.get(connection, turn.conversation_id)
            return self._judging.case(connection, conversation, decision_id)

    def answer(self, question: opinions.Waiting, votes: Sequence[Label] | None) -> None:
        """Keep what a labeller that needs I/O says of a decision, and judge that again; None: it is gone."""
        with self._writing() as connection:
            turn = events.get(connection, question.decision_id.rpartition("#")[0])
            if turn is not None and votes is not None:
                conversation = self._conversations.get(connection, turn.conversation_id)
                self._woken |= self._judging.add_votes(
                    connection, conversation, question.decision_id, question.labeller, votes
                )
            opinions.done(connection, question)

    def label_again(self, conversation_id: str, slow: Sequence[str]) -> None:
        """Judge all decisions of a conversation again, and put them down for the `slow` labellers."""
        with self._writing() as connection:
            conversation = self._conversations.get(connection, conversation_id)
            self._woken |= self._judging.again(connection, conversation, slow)

    def believe(self, calibration: Calibration) -> None:
        """Keep how far a labeller is to be believed from now on."""
        with self._writing() as connection:
            calibrations.put(connection, calibration)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run one write transaction, then wake those who have something to do."""
        self._woken.clear()
        try:
            with self._store.write() as connection:
                self._conversations.begin(connection)
                yield connection
        except BaseException:
            self._conversations.forget()
            raise
        for process in self._woken:
            notify(self._store.path.parent, process)

    def _keep_messages(self, connection: sqlite3.Connection, batch: Sequence[Inbound], source: str) -> None:
        """Keep messages in their order; turns that come one after the other are judged together."""
        for channel, group in groupby(batch, key=lambda message: message.channel):
            if channel == "turns":
                read = [(message.agent, _read_turns(message.payload)) for message in group]
                self._bury(connection, source, (one for _, (_, bad) in read for one in bad))
                self._keep_turns(connection, [(agent, turns) for agent, (turns, _) in read], source)
                continue
            take = self._correction if channel == "corrections" else self._command
            for message in group:
                take(connection, message.agent, message.payload, source)

    def _correction(
        self, connection: sqlite3.Connection, agent: str, payload: Payload, source: str
    ) -> Outcome:
        try:
            correction = self._redaction.correction(parse_correction(_decoded(payload), now_ms()))
        except InputError as error:
            self._bury(connection, source, [reject("correction", str(error), payload)])
            return "rejected"
        if not corrections.insert(connection, agent, correction, source.partition(":")[0]):
            return "duplicate"
        turn = events.get(connection, correction.turn_event_id)
        if turn is None:
            letter = reject("correction", _TURN_HAS_NOT_COME, correction.model_dump(mode="json"))
            self._bury(connection, source, [letter])
            return "waiting"
        if not self._settle(connection, turn, source):
            held = reviews.subject_of(self._store, correction.event_id)
            return "rejected" if held is None else "held"
        conversation = self._conversations.get(connection, turn.conversation_id)
        self._woken |= self._judging.judge(connection, conversation, [conversation.turns.index(turn)])
        return "applied"

    def _command(self, connection: sqlite3.Connection, agent: str, payload: Payload, source: str) -> Outcome:
        try:
            command = self._redaction.command(parse_command(_decoded(payload), now_ms()))
        except InputError as error:
            self._bury(connection, source, [reject("command", str(error), payload)])
            return "rejected"
        if not commands.insert(connection, agent, command):
            return "duplicate"
        self._woken.add("learner")
        return "waiting"

    def _bury(self, connection: sqlite3.Connection, source: str, bad: Iterable[Rejected]) -> None:
        for record in map(self._redaction.letter, bad):
            dead_letters.keep(
                connection, f"{source} ({record.place})", record.reason, record.payload, record.size
            )

    def _keep_piece(self, connection: sqlite3.Connection, piece: Piece, source: str) -> None:
        self._bury(connection, source, piece.rejected)
        for name, amount in piece.counts.items():
            counters.add(connection, name, amount)
        if piece.alert is not None:
            log.warning(piece.alert)
            outbox.alert(connection, piece.alert)
            self._woken.add("loop")
        offsets.put(connection, piece.offset)

    def _keep_alone(self, agent: str, turn: Turn, source: str) -> None:
        """Keep one turn; one that cannot be processed becomes a dead letter."""
        try:
            self.keep(agent, [turn], [], source)
        except (sqlite3.Error, OSError):
            raise
        except Exception as error:
            log.exception("turn cannot be processed, kept as a dead letter", source=source)
            letter = reject("turn", f"cannot be processed: {error!r}", turn.model_dump(mode="json"))
            self.keep(agent, [], [letter], source)

    def _keep_turns(
        self,
        connection: sqlite3.Connection,
        groups: Iterable[tuple[str, Sequence[Turn]]],
        source: str,
    ) -> list[Turn]:
        """Keep turns by agent, and judge what they bear on. Returns the new ones."""
        arrived = ((agent, self._redaction.turn(turn)) for agent, turns in groups for turn in turns)
        new, known = events.insert_all(connection, arrived, source)
        self._bury(connection, source, map(_taken, events.conflicting(connection, known)))
        corrected = corrections.turns_with_any(connection, (turn.event_id for turn in new))
        for turn in new:
            if turn.event_id in corrected:
                for waited in corrections.of_turn(connection, turn.event_id, ("waiting",)):
                    dead_letters.recall(connection, _TURN_HAS_NOT_COME, waited.event_id)
                self._settle(connection, turn, source)
        counts = Counter(turn.conversation_id for turn in new)
        for conversation_id, count in counts.items():
            conversation = self._conversations.get(connection, conversation_id)
            places = touched(conversation.turns, len(conversation.turns) - count)
            conversation.settle(_open_from(conversation.turns, len(conversation.turns) - count), self._detect)
            self._woken |= self._judging.judge(connection, conversation, places)
            self._woken |= self._judging.accept(connection, conversation, len(conversation.turns) - count)
        return new

    def _settle(self, connection: sqlite3.Connection, turn: Turn, source: str) -> bool:
        """Accept or reject the waiting corrections of a turn. Returns True where one was accepted."""
        accepted = False
        for correction in corrections.of_turn(connection, turn.event_id, ("waiting",)):
            reason = _not_applicable(correction, turn) or self._admission.refusal(connection, correction)
            doubt = self._admission.doubt(connection, correction) if reason is None else None
            if doubt is not None:
                corrections.set_state(connection, correction.event_id, "held")
                reviews.ask(connection, "correction", correction.event_id, doubt)
            elif reason is None:
                corrections.set_state(connection, correction.event_id, "applied")
                accepted = True
            else:
                corrections.set_state(connection, correction.event_id, "rejected")
                self._bury(connection, source, [reject("correction", reason, correction.model_dump())])
        return accepted


def _read_turns(payload: Payload) -> tuple[list[Turn], list[Rejected]]:
    place = "message"
    try:
        turns, bad = parse_turns(_decoded(payload), now_ms(), place)
    except InputError as error:
        return [], [reject(place, str(error), payload)]
    return turns, [reject(place, one.reason, payload) if one.place == place else one for one in bad]


def _taken(turn: Turn) -> Rejected:
    return reject("turn", _ID_IS_TAKEN, turn.model_dump(mode="json"))


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
