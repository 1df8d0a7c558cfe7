"""At the door to training: what of the corrections and examples goes on, and what waits for a person."""

from __future__ import annotations

import sqlite3
from itertools import islice

from policies import trust
from policies.config import Config
from policies.constraints import Detect
from policies.decision import DecisionPoint
from policies.example import Example
from policies.messages import CorrectionPayload
from policies.trust import Sender
from store import corrections, examples, reviews, senders
from store.clock import now_ms

_HOUR_MS = 3_600_000
_ORDINARY, _LOOKED_AT = 1_000, 10_000
"""Ordinary answers whose words are nothing special, and how many of all senders are looked at for them."""
_COMPARED = 200
"""Live examples that a new one is compared with, at most."""


class Admission:
    """Applies the rules of `policies.trust` to one store."""

    def __init__(self, config: Config, detect: Detect | None) -> None:
        self._trust = trust.rules_of(config)
        self._quota = config.training.uses_per_example
        self._detect = detect

    def doubt(self, connection: sqlite3.Connection, correction: CorrectionPayload) -> str | None:
        """Return why a correction that has come must wait for a person, None when it need not."""
        if reviews.is_accepted(connection, "correction", correction.event_id):
            return None
        sender = senders.of_correction(connection, correction.event_id)
        since = now_ms() - round(self._trust.quota_hours * _HOUR_MS)
        person, agent = senders.corrections_since(connection, sender, since)
        level = trust.level_of(sender, self._trust)
        doubt = trust.doubt_of_sender(level, person - 1, agent - 1, self._trust)
        if doubt is not None:
            return doubt
        in_force = corrections.of_turn(connection, correction.turn_event_id, ("applied",))
        earlier = [(one, senders.of_correction(connection, one.event_id)) for one in in_force]
        return trust.doubt_of_contradiction(correction, sender, earlier, self._trust)

    def refusal(self, connection: sqlite3.Connection, correction: CorrectionPayload) -> str | None:
        """Return why a correction of a turn that is here is refused, None when its sender may correct it."""
        theirs = senders.of_turn(connection, correction.turn_event_id)
        sender = senders.of_correction(connection, correction.event_id)
        return trust.refusal_of_sender(sender, theirs.agent, self._trust)

    def keep(
        self,
        connection: sqlite3.Connection,
        example: Example,
        decision: DecisionPoint,
        correction: CorrectionPayload | None = None,
    ) -> bool:
        """Keep an example of a decision, or hold it for a person. Returns True where it may be trained on."""
        doubt, like = self._doubt_of_example(connection, example, decision, correction)
        if doubt is None:
            return examples.upsert_correction_example(connection, example, self._quota)
        for one in (examples.hold_new(connection, example, self._quota), *like):
            if one is not None:
                examples.hold(connection, [one], doubt)
        examples.withdraw(connection, decision.id, "general")
        examples.withdraw(connection, decision.id, "correction", origin="followed")
        return False

    def keep_followed(
        self, connection: sqlite3.Connection, example: Example, decision: DecisionPoint
    ) -> bool:
        """Keep a followed answer as an example; in doubt it is none, and nobody is asked."""
        doubt, _ = self._doubt_of_example(connection, example, decision, None)
        return doubt is None and examples.keep_followed(connection, example, self._quota)

    def _doubt_of_example(
        self,
        connection: sqlite3.Connection,
        example: Example,
        decision: DecisionPoint,
        correction: CorrectionPayload | None,
    ) -> tuple[str | None, list[str]]:
        """Return why an example must wait, and which earlier ones with it."""
        if correction is None:
            sender = senders.of_turn(connection, decision.turn.event_id)
        elif reviews.is_accepted(connection, "correction", correction.event_id):
            return None, []
        else:
            sender = senders.of_correction(connection, correction.event_id)
        level = trust.level_of(sender, self._trust)
        if level == "trusted" or examples.is_accepted(connection, example):
            return None, []
        if level == "untrusted":
            return "its sender is not trusted", []
        others = self._by_others(connection, example, sender)
        doubt = trust.doubt_of_example(example, decision, others, self._detect)
        if doubt is not None:
            return doubt, []
        if example.origin != "correction":  # nobody wrote it: the agent's answer, or a repair of it
            return None, []
        own = self._by_agent(connection, sender)
        found = trust.repeats(example, own, self._ordinary(connection, sender), self._trust.repeated)
        if found is None:
            return None, []
        names = {one.id: one for one in own}
        like = [name for name in found[1] if not examples.is_accepted(connection, names[name])]
        return f"its agent teaches {found[0]} for different questions, and nobody asked for it", like

    def _ordinary(self, connection: sqlite3.Connection, sender: Sender) -> frozenset[str]:
        """Return the words of answers that nobody complained of and that `sender` cannot have made up."""
        found = examples.ordinary_answers(connection, _LOOKED_AT)
        sound = (text for text, other in found if other is None or trust.vouches(other, sender, self._trust))
        return trust.words_of(" ".join(islice(sound, _ORDINARY)))

    def _by_others(self, connection: sqlite3.Connection, example: Example, sender: Sender) -> list[Example]:
        found = examples.of_direction(connection, example.direction, _COMPARED)
        return [one for one, other in found if other.person != sender.person]

    def _by_agent(self, connection: sqlite3.Connection, sender: Sender) -> list[Example]:
        """Return the answers that came through the agent of a sender, but for those of trusted people."""
        found = examples.of_agent(connection, sender.agent, _COMPARED)
        return [one for one, other in found if trust.level_of(other, self._trust) != "trusted"]
