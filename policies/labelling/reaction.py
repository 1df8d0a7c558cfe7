"""Labels by the user's next turn: a complaint, a repeated direction, thanks. Mostly it says nothing.

A small model (`policies.labelling.model`) weighs what `features` and, with `embed`, `meaning` find in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from policies.constraints import Constraint, Detect, broken, read_constraints
from policies.direction import Direction
from policies.directions import directing_sentences
from policies.label import Label, Verdict
from policies.labelling.features import features, is_plainly_english, own_words, tokens
from policies.labelling.meaning import Embed, meaning
from policies.labelling.model import meaning_model, words_model
from policies.labelling.protocol import Case
from policies.sentences import word_set

_FAINT = 0.3  # below it a turn says nothing, and no vote is cast
_PRAISE = 0.6  # thanks are polite as often as they are meant
_REPEATED = 0.92  # at least so sure is a complaint that insists on a direction in its own words
_INSISTING = (
    "own_demand", "persistence", "refusal_first", "denial", "your_act", "strong", "address", "exclaims"
)  # fmt: skip
_UNSPECIFIC = 0.85  # at most so sure, where the complaint does not say which direction it is about
_KEPT = 0.6  # at most so sure, where the answer verifiably kept the direction
_BUT = word_set("but however though except still only")
_ASKS_FOR_A_LABEL = re.compile(
    r"\b(?:label|mark|count|rate|score|grade|judge|verdict|classif)\w*\b[^\n]{0,80}?\bfollowed\b|"
    r"\bfollowed\b[^\n]{0,80}?\b(?:label|verdict|labeller)", re.I
)  # fmt: skip
_LATIN = re.compile(r"[a-z]", re.I)


@dataclass(frozen=True)
class ReactionLabeller:
    """Reads the next user turn: insisting on a direction is `ignored`, bare praise a faint `followed`.

    With `embed` it also reads the meaning; then it votes `unknown` as well, for its word replaces that of the
    labeller which reads words alone. It says nothing in a language other than English.
    """

    detect: Detect | None = None
    embed: Embed | None = None

    @property
    def name(self) -> str:
        """Name the labeller by what it reads."""
        return "meaning" if self.embed else "reaction"

    def vote(self, case: Case) -> list[Label]:
        """Vote on what the next user turn is about; nothing before there is one, or after a tool call."""
        reaction = next((turn for turn in case.following if turn.role == "user"), None)
        if reaction is None or _answered_later(case):
            return []
        votes = self._votes(case, reaction.content)
        # Last, for it is by far the slowest; and most turns say nothing in any language.
        if votes and self._is_foreign(reaction.content):
            votes = []
        return votes or self._silence(case)

    def _votes(self, case: Case, content: str) -> list[Label]:
        found = features(case)
        if found["command"] or found["own_fault"]:  # a user who mends their own words complains of nobody
            return []
        probability, reasons = self._probability(case, found)
        if probability >= _FAINT:
            evidence = f"next turn: {content.strip()[:200]!r} ({', '.join(reasons)})"
            return self._complaint(case, content, found, probability, evidence)
        if _ASKS_FOR_A_LABEL.search(content):  # praise that is ordered is none
            return []
        if found["thanks"] and not found["asks"] and not _BUT & set(tokens(own_words(content))):
            quote = f"next turn: {content.strip()[:120]!r}"
            return [self._label(case, _only(case), "followed", _PRAISE, quote)]
        return []

    def _probability(self, case: Case, found: dict[str, float]) -> tuple[float, tuple[str, ...]]:
        meant = meaning(case, self.embed) if self.embed else None
        if meant is None:
            return words_model().probability(found), words_model().reasons(found)
        model, found = meaning_model(), {**found, **meant.near}
        return model.probability(found, meant.vectors), model.reasons(found)

    def _complaint(
        self, case: Case, content: str, found: Mapping[str, float], probability: float, evidence: str
    ) -> list[Label]:
        """Blame the directions that the complaint repeats; if none, the only one, or the decision."""
        repeated = [d for d in case.decision.directions if self._repeats(content, d)]
        insists = any(found[name] for name in _INSISTING)  # people also repeat one in their next request
        if repeated and insists:
            return [
                self._label(case, one, "ignored", self._sureness(case, one, probability), evidence)
                for one in repeated
            ]
        blamed: list[Direction | None] = [*repeated] or [_only(case)]
        return [
            self._label(case, one, "ignored", min(probability, _UNSPECIFIC) if one else probability, evidence)
            for one in blamed
        ]

    def _sureness(self, case: Case, direction: Direction, probability: float) -> float:
        constraints = read_constraints(direction.text, self.detect).constraints
        if case.answer is not None and constraints and not broken(case.answer, constraints):
            return min(probability, _KEPT)
        return max(probability, _REPEATED)

    def _repeats(self, content: str, direction: Direction) -> bool:
        demanded = set(read_constraints(direction.text, self.detect).constraints)
        said = {
            c for text, _ in directing_sentences(content, "user", self.detect) for c in self._demands(text)
        }
        said |= set(self._demands(content))
        if demanded and demanded & said:
            return True
        words = [w for w in re.findall(r"[a-z']{3,}", direction.text.lower()) if w not in _COMMON]
        heard = set(re.findall(r"[a-z']{3,}", content.lower()))
        return len(words) >= 2 and sum(word in heard for word in words) >= 0.75 * len(words)

    def _demands(self, text: str) -> tuple[Constraint, ...]:
        return read_constraints(text, self.detect).constraints

    def _is_foreign(self, content: str) -> bool:
        """Say whether the turn is in a language that the model does not know."""
        prose = own_words(content)
        letters = [c for c in prose if c.isalpha()]
        if letters and sum(bool(_LATIN.match(c)) for c in letters) < 0.7 * len(letters):
            return True
        if self.detect is None or is_plainly_english(tokens(prose)):  # detection is a hundred times slower
            return False
        return self.detect(prose) not in (None, "en")

    def _silence(self, case: Case) -> list[Label]:
        if self.embed is None:
            return []
        return [self._label(case, _only(case), "unknown", 0.0, "the next turn says nothing of it")]

    def _label(
        self, case: Case, direction: Direction | None, verdict: Verdict, confidence: float, why: str
    ) -> Label:
        return Label(
            decision_id=case.decision.id,
            direction_id=direction.id if direction else None,
            verdict=verdict,
            confidence=confidence,
            labeller=self.name,
            evidence=why,
        )


_COMMON = word_set(
    """
    the your and for with you please answer answers reply replies always never not only that this
    use
    """
)


def _only(case: Case) -> Direction | None:
    """Return the one direction in force; with several, a reaction is on the whole decision."""
    directions = case.decision.directions
    return directions[0] if len(directions) == 1 else None


def _answered_later(case: Case) -> bool:
    """Say whether another assistant turn came before the reaction: then it reacts to that one."""
    for turn in case.following:
        if turn.role == "user":
            return False
        if turn.role == "assistant":
            return True
    return False
