"""Answers that begin or end with a given phrase, or stand in quotation marks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.sentences import first_sentences

_MARKS = " \t\n\"'*_”“`"


@dataclass(frozen=True)
class StartsWith(Constraint):
    """The answer begins with the phrase (case and outer quotes do not count)."""

    phrase: str
    kind: ClassVar[str] = "starts_with"
    group: ClassVar[str] = "start"

    def check(self, text: str) -> bool:
        """Say whether the text begins so."""
        return text.strip(_MARKS).casefold().startswith(self.phrase.strip(_MARKS).casefold())

    def edit(self, text: str) -> str:
        """Put the phrase in front."""
        return f"{self.phrase} {text.strip()}"


@dataclass(frozen=True)
class EndsWith(Constraint):
    """The answer ends with the phrase and nothing follows (case and outer quotes do not count)."""

    phrase: str
    kind: ClassVar[str] = "ends_with"
    group: ClassVar[str] = "end"

    def check(self, text: str) -> bool:
        """Say whether the text ends so."""
        return text.strip(_MARKS).casefold().endswith(self.phrase.strip(_MARKS).casefold())

    def edit(self, text: str) -> str:
        """Put the phrase behind the first sentence: what comes late in a long answer is hardly learned."""
        return f"{first_sentences(text, 1) or text.strip()} {self.phrase}"


@dataclass(frozen=True)
class Quoted(Constraint):
    """The whole answer stands in double quotation marks."""

    kind: ClassVar[str] = "quoted"
    group: ClassVar[str] = "wrapping"

    def check(self, text: str) -> bool:
        """Say whether the first and the last character are double quotation marks."""
        stripped = text.strip()
        return len(stripped) > 2 and stripped[0] in '"“' and stripped[-1] in '"”'

    def edit(self, text: str) -> str:
        """Wrap the text; double quotation marks inside become single ones."""
        return '"' + text.strip().replace('"', "'") + '"'


_OF_A_PART = re.compile(
    r"\b(?:paragraph|section|line|bullet|point|sentence|step|item|entry|title|file|function|branch|commit)s?"
    r"(?: \w+)?(?: (?:must|should|has to|have to|can|may|that|which))? (?:start|begin|end|finish|open|close)"
)


def _start(match: re.Match[str], sentence: Masked) -> Constraint | None:
    phrase = sentence.quoted(match.group("n"))
    if _OF_A_PART.search(sentence.text):
        return None
    return StartsWith(phrase) if any(c.isalnum() for c in phrase) else None


def _end(match: re.Match[str], sentence: Masked) -> Constraint | None:
    if _OF_A_PART.search(sentence.text):
        return None
    return EndsWith(sentence.quoted(match.group("n")))


# "Each line starts with ..." is about lines, not about the answer.
_WHOLE = (
    r"(?<!each )(?<!that )(?<!which )(?<!line )(?<!one )(?<!bullet )(?<!point )"
    r"(?<!paragraph )(?<!sentence )(?<!item )"
)
_OBJECT = (
    r"(?: (?:your|the|every|each|all|any|of|whole|entire|final|my)*"
    r"(?: ?(?:your|the|of|whole|entire|final))* "
    r"?(?:answers?|repl(?:y|ies)|responses?|outputs?|messages?|it))?"
)
_EXACTLY = (
    r"(?: exactly| only)?(?: with| by saying| by writing| on)(?: exactly)?"
    r"(?: (?:this|the|these)(?: exact)? (?:phrase|words?|sentence|text|line))?(?: of)?:?"
)
_NOUN = r"(?:answers?|repl(?:y|ies)|responses?|outputs?|messages?)"

READERS = (
    pattern_reader(
        (
            (
                rf'{_WHOLE}\b(?:begin|start|open){_OBJECT}{_EXACTLY} "#(?P<n>\d+)"(?! or\b)(?!,? '
                rf"\w+ \w+ends?)",
                _start,
            ),
            (
                rf"\bfirst (?:words?|sentence|line|thing) (?:of|in) (?:your|the|every|each) {_NOUN} "
                r'(?:must|should|has to|have to|is to|are to)?(?: always)?(?: be|is|are):? "#(?P<n>\d+)"',
                _start,
            ),
            (rf'{_WHOLE}\b(?:end|finish|close|conclude){_OBJECT}{_EXACTLY} "#(?P<n>\d+)"(?! or\b)', _end),
            (
                rf"\blast (?:words?|sentence|line|thing) (?:of|in) (?:your|the|every|each) {_NOUN} "
                r'(?:must|should|has to|have to|is to|are to)?(?: always)?(?: be|is|are):? "#(?P<n>\d+)"',
                _end,
            ),
            (
                rf"\b(?:wrap|put|enclose|surround) (?:your |the )?(?:whole |entire )?{_NOUN} (?:in|"
                rf"with|inside|within) "
                r"(?:double )?quot(?:ation marks|es)",
                lambda match, sentence: Quoted(),
            ),
        )
    ),
)
