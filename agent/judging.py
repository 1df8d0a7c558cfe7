"""From decision points to rows: labels, examples, and the label events for the bus.

What was said of a decision last is remembered: most new turns change nothing, and nothing is written then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from agent.admission import Admission
from agent.conversations import Conversation
from agent.reading import default_labellers
from agent.second_opinions import SLOW, SecondOpinions
from policies.config import Config
from policies.constraints import Detect
from policies.decision import DecisionPoint
from policies.example import Example
from policies.label import Label
from policies.labelling import Calibration, Case, Judgement, cases, judge
from policies.messages import LabelEvent
from policies.pairs import correction_example, followed_example, general_example, with_accepted
from policies.turn import Turn
from policies.window import CHARACTERS_PER_TOKEN, recent
from store import calibrations, corrections, decisions, examples, labels, opinions, outbox
from store.clock import new_id, now_ms, rfc3339
from store.wakeup import Process


class Judging:
    """Labels decision points in one store. `detect` names the language of a text, or is None."""

    def __init__(self, config: Config, detect: Detect | None) -> None:
        self._config = config
        self._detect = detect
        self._labellers = default_labellers(detect)
        self._names = tuple(labeller.name for labeller in self._labellers)
        self._admission = Admission(config, detect)
        self._second_opinions = SecondOpinions(config)

    def judge(
        self, connection: sqlite3.Connection, conversation: Conversation, places: Sequence[int]
    ) -> set[Process]:
        """Label the decision points of the assistant turns at some places; keep what that changes.

        Returns the processes that have something to do now.
        """
        woken: set[Process] = set()
        if not places:
            return woken
        believed = calibrations.in_force(connection)
        wanted = {conversation.turns[place].event_id: conversation.turns[place] for place in places}
        corrected = corrections.turns_with_any(connection, wanted)
        said = {event_id: corrections.of_turn(connection, event_id, ("applied",)) for event_id in corrected}
        known = conversation.known if conversation.known[0] <= places[0] else None
        left = sum(max(1, len(turn.tool_calls)) for turn in wanted.values())
        for case in cases(conversation.turns, said, start=places[0], detect=self._detect, known=known):
            if case.decision.turn.event_id in wanted:
                woken |= self._keep(connection, conversation, case, believed)
                left -= 1
                if left == 0:  # directions behind it are not read before they are needed
                    break
        return woken

    def accept(self, connection: sqlite3.Connection, conversation: Conversation, first: int) -> set[Process]:
        """See whether the turns from place `first` on let a second answer stand: it is what the answer that
        was complained of should have been.
        """
        woken: set[Process] = set()
        for place in range(max(first, 3), len(conversation.turns)):
            answer, *later = conversation.turns[place - 3 : place + 1]
            if (answer.role, later[-1].role) != ("assistant", "user"):
                continue
            example = examples.of_decision(connection, f"{answer.event_id}#0")
            better = None if example is None else with_accepted(example, later, self._detect)
            if better is not None:
                fresh = better.model_copy(update={"id": new_id()})
                case = self.case(connection, conversation, f"{answer.event_id}#0")
                said = None if case is None or not case.corrections else case.corrections[-1]
                if case is not None and self._admission.keep(connection, fresh, case.decision, said):
                    woken.add("learner")
        return woken

    def add_votes(
        self,
        connection: sqlite3.Connection,
        conversation: Conversation,
        decision_id: str,
        labeller: str,
        votes: Sequence[Label],
    ) -> set[Process]:
        """Keep what a labeller that needs I/O says of a decision, and judge the decision again with it."""
        labels.replace_votes(connection, decision_id, votes, labellers=(labeller,))
        turn_id = decision_id.rpartition("#")[0]
        places = [n for n, turn in enumerate(conversation.turns) if turn.event_id == turn_id]
        return self.judge(connection, conversation, places)

    def again(
        self, connection: sqlite3.Connection, conversation: Conversation, slow: Sequence[str]
    ) -> set[Process]:
        """Judge a whole conversation as if for the first time; the `slow` labellers are asked anew."""
        conversation.judged.clear()
        places = [place for place, turn in enumerate(conversation.turns) if turn.role == "assistant"]
        woken = self.judge(connection, conversation, places)
        firsts = [f"{conversation.turns[place].event_id}#0" for place in places]
        for labeller in slow:
            opinions.put(connection, labeller, firsts)
        return woken

    def case(
        self, connection: sqlite3.Connection, conversation: Conversation, decision_id: str
    ) -> Case | None:
        """Return the case of a decision as it stands now; None where its turn is not there."""
        turn_id = decision_id.rpartition("#")[0]
        place = next((n for n, turn in enumerate(conversation.turns) if turn.event_id == turn_id), None)
        if place is None:
            return None
        said = {turn_id: corrections.of_turn(connection, turn_id, ("applied",))}
        known = conversation.known if conversation.known[0] <= place else None
        found = cases(conversation.turns, said, start=place, detect=self._detect, known=known)
        return next((case for case in found if case.decision.id == decision_id), None)

    def _keep(
        self,
        connection: sqlite3.Connection,
        conversation: Conversation,
        case: Case,
        believed: Mapping[str, Calibration],
    ) -> set[Process]:
        recorded = self._second_opinions.recorded(connection, case)
        judgement = judge(
            case,
            self._labellers,
            recorded=recorded,
            calibrations=believed,
            label_above=self._config.labels.label_above,
        )
        wanted = self._second_opinions.wanted(case, judgement, recorded)
        said = hash((judgement.votes, judgement.labels, judgement.stated, wanted))
        if conversation.judged.get(case.decision.id) == said:
            return set()
        conversation.judged[case.decision.id] = said
        is_new = decisions.insert(connection, case.decision)
        for labeller in wanted:
            opinions.put(connection, labeller, [case.decision.id])
        if judgement.stated:
            decisions.insert_directions(connection, case.decision.id, judgement.stated)
        cast = [vote for vote in judgement.votes if vote.labeller not in SLOW]
        if cast or not is_new:
            labels.replace_votes(connection, case.decision.id, cast, labellers=self._names)
        changed = labels.replace(connection, case.decision.id, judgement.labels)
        woken: set[Process] = set()
        for label in changed:
            if label.verdict != "unknown":
                told = label.model_dump(exclude={"direction_id", "evidence"})
                outbox.put(connection, LabelEvent(ts=rfc3339(now_ms()), **told))
                woken.add("loop")
        if changed and self._keep_example(connection, case, judgement, is_new=is_new):
            woken.add("learner")
        return woken

    def _keep_example(
        self, connection: sqlite3.Connection, case: Case, judgement: Judgement, *, is_new: bool
    ) -> bool:
        """Keep the example that a judgement gives, or take it back. Returns True for a correction."""
        decision = self._shortened(case.decision)
        correction = case.corrections[-1] if case.corrections else None
        example = correction_example(
            new_id(),
            decision,
            judgement.labels,
            correction=correction,
            stated=judgement.stated,
            later=case.following,
            train_above=self._config.labels.train_above,
            detect=self._detect,
        )
        if example is not None:
            return self._admission.keep(connection, example, case.decision, correction)
        if not is_new:
            examples.withdraw(connection, decision.id, "correction")
        followed = self._followed(decision, judgement)
        if followed is not None and self._admission.keep_followed(connection, followed, case.decision):
            return True
        ordinary = general_example(new_id(), decision, judgement.labels)
        if ordinary is not None:
            examples.add_general_example(connection, ordinary)
        elif not is_new:
            examples.withdraw(connection, decision.id, "general")
        return False

    def _followed(self, decision: DecisionPoint, judgement: Judgement) -> Example | None:
        """Return a followed answer as an example, where the objective learns from single answers."""
        if self._config.training.objective != "unpaired":
            return None
        return followed_example(
            new_id(),
            decision,
            judgement.labels,
            train_above=self._config.labels.train_above,
            detect=self._detect,
        )

    def _shortened(self, decision: DecisionPoint) -> DecisionPoint:
        return recent(decision, self._config.training.max_context_tokens * CHARACTERS_PER_TOKEN)


def touched(turns: Sequence[Turn], first: int) -> list[int]:
    """Return the places of the assistant turns whose evidence the turns from place `first` on may change.

    Their own; a tool's result bears on the turn that called it; a user's turn on all since the user turn
    before it, and with it everything behind is looked at again.
    """
    begin = first
    if any(turn.role == "user" for turn in turns[first:]):
        while begin > 0 and turns[begin - 1].role != "user":
            begin -= 1
    elif turns[first].role == "tool":
        while begin > 0 and turns[begin].role == "tool":
            begin -= 1
    return [place for place in range(begin, len(turns)) if turns[place].role == "assistant"]
