"""What an answer leaves out for manners' sake: apologies, an opening that says nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, pattern_reader
from policies.sentences import split_sentences

_APOLOGY = re.compile(
    r"\b(?:i(?:'m| am)?(?: \w+){0,2} (?:sorry|apologi[sz]e)|my (?:\w+ )?apologies|"
    r"(?:please )?accept my apolog\w+|"
    r"apologies for|sorry (?:about|for|that|if)|(?:i )?apologi[sz]e for|i beg your pardon)\b|^\W*(?:sorry|"
    r"apologies)\b",
    re.I | re.M,
)
_PREAMBLE = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|absolutely|definitely|great|happy to help|okay|ok|understood|"
    r"got it|alright)\b"
    r"(?: thing| question| idea)?[!,.:]|(?:that's|what) an? (?:great|good|excellent|interesting) question|"
    r"(?:great|good|excellent|interesting) question\b|i(?:'d| would) be (?:happy|glad) to|"
    r"i can (?:certainly )?help)",
    re.I,
)


@dataclass(frozen=True)
class NoApology(Constraint):
    """Nobody says sorry."""

    kind: ClassVar[str] = "no_apology"
    group: ClassVar[str] = "apology"
    prohibits: ClassVar[bool] = True
    confidence: ClassVar[float] = 0.93

    def check(self, text: str) -> bool:
        """Say whether no apology is there (an empty text says nothing)."""
        return bool(text.strip()) and not _APOLOGY.search(text.replace("’", "'"))

    def edit(self, text: str) -> str | None:
        """Drop the sentences that apologise."""
        return " ".join(s.text for s in split_sentences(text) if self.check(s.text)) or None


@dataclass(frozen=True)
class NoPreamble(Constraint):
    """The answer does not begin with "Sure!", "Great question!" and their like."""

    kind: ClassVar[str] = "no_preamble"
    group: ClassVar[str] = "preamble"
    prohibits: ClassVar[bool] = True
    confidence: ClassVar[float] = 0.92

    def check(self, text: str) -> bool | None:
        """Say that one is there; that none is there cannot be told from a list of openings."""
        if not text.strip():
            return False
        return False if _PREAMBLE.search(text.replace("’", "'")) else None

    def repair(self, text: str) -> str | None:
        """Drop the first sentence if it says nothing."""
        sentences = split_sentences(text)
        if self.check(text) is not False or len(sentences) < 2:
            return text if text.strip() else None
        rest = text[sentences[1].start :].strip()
        return rest if self.check(rest) is None else None


_NOT = (
    r"(?:no|without(?: any)?|(?:do not|don't|never|stop|quit|avoid)(?: use| using| write| writing| add|"
    r" adding| include| including| start\w* with)?(?: any| a| with)*|skip(?: the| any)?)"
)

READERS = (
    pattern_reader(
        "apolog sorry",
        (
            (
                rf"\b{_NOT} apolog(?:ies|y|i[sz]e|i[sz]ing)\b(?: to me| at all| for \w+)?",
                lambda match, sentence: NoApology(),
            ),
            (
                r"\b(?:do not|don't|never|stop|without|avoid) (?:say|saying) (?:you(?:'re|"
                r" are) )?(?:that )?sorry\b",
                lambda match, sentence: NoApology(),
            ),
        ),
    ),
    pattern_reader(
        "preamble filler pleasantr intro small talk",
        (
            (
                rf"\b{_NOT} (?:preambles?|pleasantries|filler(?: phrases?| words?)?|"
                rf"introductory (?:phrases?|sentences?|text)|small talk)\b",
                lambda match, sentence: NoPreamble(),
            ),
        ),
    ),
)
