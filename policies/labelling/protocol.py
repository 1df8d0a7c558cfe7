"""What a labeller sees and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from policies.decision import DecisionPoint
from policies.label import Label
from policies.messages import CorrectionPayload
from policies.turn import Turn


@dataclass(frozen=True)
class Case:
    """A decision with all the evidence on it: the turns after it and the corrections of it.

    `following` ends with the next user turn, where there is one already; the last correction counts.
    """

    decision: DecisionPoint
    following: tuple[Turn, ...] = ()
    corrections: tuple[CorrectionPayload, ...] = ()

    @property
    def answer(self) -> str | None:
        """Return the text that demands on an answer apply to.

        None for a tool call, also for what is said beside one: that is no answer yet.
        """
        turn = self.decision.turn
        return turn.content if turn.content.strip() and not turn.tool_calls else None


class Labeller(Protocol):
    """Votes on the directions of a case. No vote is the honest `unknown`."""

    @property
    def name(self) -> str:
        """Name the labeller, as labels carry it."""
        ...

    def vote(self, case: Case) -> list[Label]:
        """Return at most one label per direction (and one for direction None: the decision as a whole)."""
        ...
