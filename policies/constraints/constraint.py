"""What every constraint is, and the masked sentence that readers look at."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

Detect = Callable[[str], str | None]
"""Text -> language code (ISO 639-1), or None where it cannot be told."""


@dataclass(frozen=True)
class Constraint(ABC):
    """One executable demand on the text of an answer.

    `group` names what it governs: a newer constraint of the same group replaces an older one. `prohibits`
    says that its own wording holds a negation. `confidence` is how far a verdict of `check` can be trusted.
    """

    kind: ClassVar[str]
    group: ClassVar[str]
    prohibits: ClassVar[bool] = False
    confidence: ClassVar[float] = 0.97

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments by name, as JSON can hold them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.compare}

    @abstractmethod
    def check(self, text: str) -> bool | None:
        """Say whether the text keeps the constraint; None where that cannot be told."""

    def implies(self, other: Constraint) -> bool:
        """Say whether whatever keeps this constraint keeps the other too."""
        return self == other

    def edit(self, text: str) -> str | None:
        """Return a minimal edit that should keep the constraint; None where there is no sensible one."""
        return None

    def repair(self, text: str) -> str | None:
        """Return the text itself if it keeps the constraint, else an edit that does, else None."""
        if self.check(text):
            return text
        edited = self.edit(text)
        return edited if edited is not None and edited.strip() and self.check(edited) else None

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.kind}({arguments})"


@dataclass(frozen=True)
class Masked:
    """A sentence in lower case with each quotation as `"#n"` and each JSON form as `{#n}`.

    So a reader's pattern never matches inside a quotation; `quotes[n]` is what stood there. `original` is the
    same before it was put in lower case.
    """

    text: str
    quotes: tuple[str, ...]
    original: str = ""

    def quoted(self, number: str) -> str:
        """Return the n-th quotation (the number as the pattern captured it)."""
        return self.quotes[int(number)]

    @cached_property
    def boundaries(self) -> tuple[tuple[int, int], ...]:
        """Return the spans of the commas and conjunctions between clauses."""
        return tuple(match.span() for match in _BOUNDARY.finditer(self.text))

    def clause_span(self, start: int, end: int) -> tuple[int, int]:
        """Return where the clause around a span begins and ends: at the boundaries next to it."""
        before = bisect_right(self.boundaries, start, key=lambda span: span[1])
        after = bisect_left(self.boundaries, end, key=lambda span: span[0])
        begin = self.boundaries[before - 1][1] if before else 0
        return begin, self.boundaries[after][0] if after < len(self.boundaries) else len(self.text)

    def clause(self, start: int, end: int) -> str:
        """Return the clause around a span."""
        begin, stop = self.clause_span(start, end)
        return self.text[begin:stop]

    def as_written(self, start: int, end: int) -> str:
        """Return a span of `text` with the case it was written in."""
        return self.original[start:end] if len(self.original) == len(self.text) else self.text[start:end]


@dataclass(frozen=True)
class Found:
    """A constraint and the span of the masked sentence that says it."""

    constraint: Constraint
    start: int
    end: int


Reader = Callable[[Masked, Detect | None], Iterator[Found]]
Build = Callable[[re.Match[str], Masked], Constraint | None]

# A comma in a row of things, and an "and" between two of them, bound nothing: a new demand has its own verb.
_BOUNDARY = re.compile(
    r"[;:,] |\b(?:but|then|plus)\b |"
    r"\band (?=(?:also|then|please|make|use|write|include|contain|have|has|must|should|highlight|end|finish|"
    r"start|begin|"
    r"wrap|put|add|avoid|do|don't|never|keep|answer|reply|respond|give|without|no|not|with|in (?:all|"
    r"english|only)|your|"
    r"the (?:whole |entire )?(?:response|answer|reply|output)|only|at (?:least|most)|less|fewer|more|be|it|"
    r"exactly|organi[sz]e|separate|ensure|let|say|mention|italici[sz]e|limit|omit|return|output)\b)"
)
_EMPHASIS = re.compile(r"(?<![\w*])(?P<mark>\*{1,2}|_{1,2})(?P<word>[A-Za-z]+)(?P=mark)(?![\w*])")
_ASIDE = re.compile(r" ?\((?:such as|e\.g\.|i\.e\.|like|for example|for instance)[^()\n]{0,200}\)", re.I)
_FORM = r"\{\s*[\"“'](?P<form>[^\"”'{}]{1,80})[\"”']\s*:[^{}]{0,200}\}"
_QUOTES = re.compile(
    rf"{_FORM}|[\"“”](?P<double>[^\"“”]{{1,400}})[\"“”]|«(?P<angle>[^»]{{1,400}})»|"
    r"`(?P<code>[^`]{1,400})`|(?<![\w])'(?P<single>[^'\n]{1,400}(?:'\w[^'\n]{0,400})*)'(?!\w)"
)


def mask(sentence: str) -> Masked:
    """Return the sentence with its quotations masked."""
    quotes: list[str] = []

    def cover(match: re.Match[str]) -> str:
        quotes.append(match.group(match.lastgroup or 0))
        number = len(quotes) - 1
        return f"{{#{number}}}" if match.lastgroup == "form" else f'"#{number}"'

    sentence = _EMPHASIS.sub(r"\g<word>", _ASIDE.sub("", sentence))
    text = " ".join(_QUOTES.sub(cover, sentence.replace("’", "'")).split())
    return Masked(text.lower(), tuple(quotes), text)


def pattern_reader(cues: str, table: tuple[tuple[str, Build], ...]) -> Reader:
    """Return a reader that tries each pattern of a table; at one place the first that builds wins.

    `cues` are words (or their beginnings), one of which stands in every sentence that a pattern can match:
    most sentences hold none, and cost nothing.
    """
    compiled = [(re.compile(pattern), build) for pattern, build in table]
    needed = tuple(cues.split())

    def read(sentence: Masked, detect: Detect | None) -> Iterator[Found]:
        if not any(cue in sentence.text for cue in needed):
            return
        taken: list[tuple[int, int]] = []
        for pattern, build in compiled:
            for match in pattern.finditer(sentence.text):
                if any(match.start() < end and start < match.end() for start, end in taken):
                    continue
                constraint = build(match, sentence)
                if constraint is not None:
                    taken.append(match.span())
                    yield Found(constraint, *match.span())

    return read
