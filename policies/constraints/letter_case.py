"""All lower case, all upper case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Build, Constraint, Masked, pattern_reader


@dataclass(frozen=True)
class LetterCase(Constraint):
    """Every letter is lower case (or upper case)."""

    upper: bool
    kind: ClassVar[str] = "letter_case"
    group: ClassVar[str] = "case"
    confidence: ClassVar[float] = 0.99

    def check(self, text: str) -> bool:
        """Say whether no letter is of the other case (and there is a letter)."""
        return self._cased(text) == text and any(c.isalpha() for c in text)

    def edit(self, text: str) -> str:
        """Change the case of every letter."""
        return self._cased(text)

    def _cased(self, text: str) -> str:
        return text.upper() if self.upper else text.lower()


# Capitals for some words, titles or names say nothing about the whole answer.
_OF_A_PART = re.compile(
    r"\bwords? (?:\w+ ){0,3}(?:in|with|using|of|written) (?:all |only )*(?:capital|caps|upper|lower)|"
    r"\btimes\b|\b(?:some|first letter|each word|titles?|names?|headings?|headers?|sections?|variables?|"
    r"constants?|keys?|"
    r"labels?|buttons?|fields?|columns?|values?|strings?|paragraphs?|emphasi[sz]e|highlight)\b|"
    r"\bwords with capital"
)


def _read(upper: bool) -> Build:
    def read(match: re.Match[str], sentence: Masked) -> Constraint | None:
        return None if _OF_A_PART.search(sentence.clause(*match.span())) else LetterCase(upper)

    return read


READERS = (
    pattern_reader(
        "capital case caps small",
        (
            (
                r"\b(?:without(?: any| using)*|(?:not|don't|never) (?:use|contain|include|have)(?: any)?|"
                r"(?:avoid|refrain from)(?: using| any)*|no) "
                r"(?:capital|upper ?-?case|capitali[sz]ed) ?(?:letters?|characters?|words?)(?: at all|"
                r" (?:is|are) allowed)?|\bno capitals\b(?: at all)?|\bnever capitali[sz]e\b(?: anything)?",
                _read(upper=False),
            ),
            (
                r"\byour (?:whole |entire )?(?:answers?|repl(?:y|ies)|responses?|outputs?) "
                r"(?:(?:must|should|may|can) not|cannot|mustn't|shouldn't) (?:contain|have|include|hold) "
                r"(?:an?|one|(?:even )?a single|even one) (?:capital|upper ?-?case) (?:letter|character)"
                r"(?= ?(?:[.!;]|$|anywhere|at all))",
                _read(upper=False),
            ),
            (
                r"\b(?:only |all |entirely |completely )?(?:in |using |use |with )?(?:only |all |entirely )?"
                r"(?:the )?(?:lower ?-?cases?d?|small letters)(?: letters?| characters?| text)?(?: only)?\b",
                _read(upper=False),
            ),
            (
                r"\b(?:only |all |entirely )?(?:in |using |use |with )?(?:only |all |entirely |"
                r"full )?(?:the )?"
                r"(?:upper ?-?case|capital letters|all caps|all capitals)(?: letters?| characters?|"
                r" text)?(?: only)?\b",
                _read(upper=True),
            ),
        ),
    ),
)
