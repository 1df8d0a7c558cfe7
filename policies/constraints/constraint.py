"""What every constraint is, and the masked sentence that readers look at."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

Detect = Callable[[str], str | None]
"""Text -> language code (ISO 639-1), or None where it cannot be told."""


@dataclass(frozen=True)
class Constraint(ABC):
    """One executable demand on the text of an answer.

    `group` names what it governs: a newer constraint of the same group replaces an older one.
    `confidence` is how far a verdict of `check` can be trusted.
    """

    kind: ClassVar[str]
    group: ClassVar[str]
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

    So a reader's pattern never matches inside a quotation; `quotes[n]` is what stood there.
    """

    text: str
    quotes: tuple[str, ...]

    def quoted(self, number: str) -> str:
        """Return the n-th quotation (the number as the pattern captured it)."""
        return self.quotes[int(number)]


@dataclass(frozen=True)
class Found:
    """A constraint and the span of the masked sentence that says it."""

    constraint: Constraint
    start: int
    end: int


Reader = Callable[[Masked, Detect | None], Iterator[Found]]
Build = Callable[[re.Match[str], Masked], Constraint | None]

_FORM = r"\{\s*[\"“'](?P<form>[^\"”'{}]{1,80})[\"”']\s*:[^{}]{0,200}\}"
_QUOTES = re.compile(
    rf"{_FORM}|\"(?P<straight>[^\"]{{1,400}})\"|“(?P<curly>[^”]{{1,400}})”|«(?P<angle>[^»]{{1,400}})»|"
    r"`(?P<code>[^`]{1,400})`|(?<![\w])'(?P<single>[^'\n]{1,400}(?:'\w[^'\n]{0,400})*)'(?!\w)"
)


def mask(sentence: str) -> Masked:
    """Return the sentence with its quotations masked."""
    quotes: list[str] = []

    def cover(match: re.Match[str]) -> str:
        quotes.append(match.group(match.lastgroup or 0))
        number = len(quotes) - 1
        return f"{{#{number}}}" if match.lastgroup == "form" else f'"#{number}"'

    text = _QUOTES.sub(cover, sentence.replace("’", "'")).lower()
    return Masked(" ".join(text.split()), tuple(quotes))


def pattern_reader(table: tuple[tuple[str, Build], ...]) -> Reader:
    """Return a reader that tries each pattern of a table; at one place the first that builds wins."""
    compiled = [(re.compile(pattern), build) for pattern, build in table]

    def read(sentence: Masked, detect: Detect | None) -> Iterator[Found]:
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


_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
NUMBER = r"(?:\d{1,5}|a single|a|an|single|" + "|".join(_NUMBERS) + r")"
"""A count as people write it; for `whole_number`."""


def whole_number(text: str) -> int:
    """Read a count: digits or a word (`a` and `single` are one)."""
    if text.isdigit():
        return int(text)
    return _NUMBERS.index(text) + 1 if text in _NUMBERS else 1
