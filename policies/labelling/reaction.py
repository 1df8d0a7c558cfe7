"""Labels by the user's next turn: a complaint, a repeated direction, thanks. Mostly it says nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints import Constraint, Detect, broken, read_constraints
from policies.direction import Direction
from policies.directions import directing_sentences
from policies.label import Label, Verdict
from policies.labelling.protocol import Case
from policies.sentences import word_set

_REACTION = 400  # characters: in a longer turn the first ones react, the rest is the next task
_INSISTING = re.compile(
    r"\b(?:i (?:(?:already|just|clearly|explicitly|specifically) )*(?:said|told you|"
    r"asked(?: you)?(?: for| to)|meant what i said)|"
    r"as i (?:said|asked|told)|like i (?:said|asked|told)|(?:that's|that is|this is|this isn't|"
    r"that isn't|it's) not what i (?:asked|wanted|said|meant)|"
    r"you (?:forgot|ignored|didn't (?:follow|listen|do what|answer|use|reply)|did not (?:follow|listen|"
    r"do what)|failed to|"
    r"(?:still )?(?:haven't|have not) (?:followed|done)|still (?:didn't|don't|used|wrote))|"
    r"(?:follow|read|re-?read) (?:my|the) (?:instructions?|directions?|rules?)|how (?:many times|"
    r"often) (?:do|must|have) i|"
    r"i (?:didn't|did not|never) ask(?:ed)? (?:for|you)|stop ignoring|why (?:did|do|are) you (?:not|"
    r"still|ignor)|why (?:didn't|don't) you)\b"
)
_AGAIN = re.compile(r"^(?:no[,.!:]? )?(?:again|once more|try again|redo (?:it|this|that))\b")
_OWN_WORDS = re.compile(
    r"\bi (?:meant|mean|misspoke|made a mistake|forgot to|should have said|wasn't clear|"
    r"was not clear)\b|\bmy (?:mistake|bad|fault|apologies)\b|"
    r"\b(?:sorry|oops|whoops)\b|\bi said .{1,60} but i meant\b|\bactually i\b"
)
_THANKS = re.compile(
    r"^(?:(?:ok|okay|yes|ah|oh|great|cool|wow)[,.!]? )*(?:thanks?(?: you)?|thx|ty|perfect|great|"
    r"excellent|awesome|brilliant|"
    r"exactly|well done|good job|nice(?: work| job| one)?|that's (?:perfect|great|exactly|it|right|"
    r"what i wanted)|"
    r"much better|looks good|lgtm)\b(?! (?:but|however|though|except))"
)
_BUT = re.compile(r"\b(?:but|however|though|except|only that|still)\b")


@dataclass(frozen=True)
class ReactionLabeller:
    """Reads the next user turn: insisting on a direction is `ignored`, bare praise a faint `followed`."""

    detect: Detect | None = None
    name: ClassVar[str] = "reaction"

    def vote(self, case: Case) -> list[Label]:
        """Vote on what the next user turn is about; nothing before there is one, or after a tool call."""
        reaction = next((turn for turn in case.following if turn.role == "user"), None)
        if reaction is None or _answered_later(case):
            return []
        text = " ".join(reaction.content.replace("’", "'").lower().split())[:_REACTION]
        if not _OWN_WORDS.search(text):  # a user who mends their own words complains of nobody
            if _INSISTING.search(text):
                return self._complaint(case, reaction.content)
            if _AGAIN.search(text) and self._repeated(case, reaction.content):
                return self._complaint(case, reaction.content)
        if _THANKS.search(text) and not _BUT.search(text[:80]):
            quote = f"next turn: {reaction.content.strip()[:120]!r}"
            return [self._label(case, _only(case), "followed", 0.5, quote)]
        return []

    def _complaint(self, case: Case, content: str) -> list[Label]:
        """Blame the directions that the complaint repeats; if none, the only one, or the decision."""
        evidence = f"next turn: {content.strip()[:200]!r}"
        repeated = self._repeated(case, content)
        if repeated:
            return [self._label(case, d, "ignored", self._sureness(case, d), evidence) for d in repeated]
        return [self._label(case, _only(case), "ignored", 0.7, evidence)]

    def _repeated(self, case: Case, content: str) -> list[Direction]:
        return [d for d in case.decision.directions if self._repeats(content, d)]

    def _sureness(self, case: Case, direction: Direction) -> float:
        """Return 0.92 for a repeated direction, 0.6 if the answer verifiably kept it."""
        constraints = read_constraints(direction.text, self.detect).constraints
        if case.answer is not None and constraints and not broken(case.answer, constraints):
            return 0.6
        return 0.92

    def _repeats(self, content: str, direction: Direction) -> bool:
        demanded = set(read_constraints(direction.text, self.detect).constraints)
        said = {c for text, _ in directing_sentences(content, "user", self.detect) for c in self._read(text)}
        said |= set(self._read(content))
        if demanded and demanded & said:
            return True
        words = [w for w in re.findall(r"[a-z']{3,}", direction.text.lower()) if w not in _COMMON]
        heard = set(re.findall(r"[a-z']{3,}", content.lower()))
        return len(words) >= 2 and sum(word in heard for word in words) >= 0.75 * len(words)

    def _read(self, text: str) -> tuple[Constraint, ...]:
        return read_constraints(text, self.detect).constraints

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
