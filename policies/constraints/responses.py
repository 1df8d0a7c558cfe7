"""Answers that hold the request, that come twice, or that are one of given options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked

_BETWEEN = "******"


@dataclass(frozen=True)
class TwoResponses(Constraint):
    """Two different responses with six asterisks between them."""

    kind: ClassVar[str] = "two_responses"
    group: ClassVar[str] = "responses"

    def check(self, text: str) -> bool:
        """Count the responses; empty ones may only stand at either end."""
        parts = [part.strip() for part in text.split(_BETWEEN)]
        filled = [part for part in parts if part]
        return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


@dataclass(frozen=True)
class RepeatRequest(Constraint):
    """The answer begins with the request, word for word (case does not count)."""

    request: str
    kind: ClassVar[str] = "repeat_request"
    group: ClassVar[str] = "start"

    def check(self, text: str) -> bool:
        """Compare the beginning."""
        return text.strip().lower().startswith(self.request.strip().lower())

    def edit(self, text: str) -> str:
        """Put the request in front."""
        return f"{self.request.strip()}\n\n{text.strip()}"


@dataclass(frozen=True)
class OneOf(Constraint):
    """The answer gives one of the options; `only`: and nothing else (case and a last dot do not count)."""

    options: tuple[str, ...]
    only: bool
    kind: ClassVar[str] = "one_of"
    group: ClassVar[str] = "options"

    def check(self, text: str) -> bool:
        """Look for the options in the text, or compare the whole text with each."""
        said = _bare(text)
        if self.only:
            return said in {_bare(option) for option in self.options}
        return any(_bare(option) in said for option in self.options)


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .!\"'*`")


_ASTERISKS = re.compile(r"(?<!\*)\*{6}(?!\*)")
_APART = re.compile(r"\b(?:separat\w+|divid\w+|split|following|between)\b")
_MANY = re.compile(
    r"\b(?:three|four|five|[3-9]) (?:\w+ ){0,2}(?:responses|answers|versions|options|examples|replies)\b"
)
_REPEAT = re.compile(
    r"\b(?:repeat|copy|restate)\b (?:back )?(?:to me )?(?:the |this |my |that )?(?:\w+ ){0,2}?"
    r"(?:request|sentence|prompt|question|instructions?|line|task|query|text|above|paragraph)\b"
)
_FAITHFULLY = re.compile(
    r"word (?:for|by) word|\bexact|without (?:any )?chang|(?:do not|don't|never) change|verbatim|as it is|"
    r"\bbefore (?:repeating|answering|you)|\bfirst\b|\bbefore that\b"
)
_BELOW = re.compile(r"\b(?:below|following|next)\b")
_ONE_OF = re.compile(
    r"\bone of (?:the|these|those) (?:following |\w+ )*(?:options|phrases|answers|responses|choices|"
    r"sentences|words|values|labels)\b|\bone of(?: the following| these| those)?:? (?=\"#)"
)
_EXCLUSIVE = re.compile(r"\bonly\b|\bnothing else\b|\bjust\b")
_YES_NO = re.compile(
    r"\b(?:answer|reply|respond|say)(?: me)? (?:only |just |simply )*(?:with |by )?(?:only |just |either |"
    r"a simple |a )*"
    r"(?:\"#(?P<a>\d+)\"|(?P<x>yes)) or (?:\"#(?P<b>\d+)\"|(?P<y>no))(?: only| and nothing else)?"
)


def read_passage(text: str, sentences: Sequence[Masked]) -> Iterator[Constraint]:
    """Find demands on the whole answer that speak of the text they stand in."""
    if "*" * 6 in text and any(_is_divided(sentence) for sentence in sentences):
        yield TwoResponses()
    request = _request_to_repeat(text)
    if request:
        yield RepeatRequest(request)
    for place, sentence in enumerate(sentences):
        options = _options(sentence, sentences[place + 1 : place + 7])
        if options is not None:
            yield options


def _is_divided(sentence: Masked) -> bool:
    apart = _ASTERISKS.search(sentence.text) and _APART.search(sentence.text)
    return bool(apart) and not _MANY.search(sentence.text)


def _request_to_repeat(text: str) -> str | None:
    """Return what is to be repeated: what stands before the demand, or the paragraphs after it."""
    for line in re.finditer(r"[^\n]+", text):
        low = line.group().lower().replace("’", "'")
        asked = _REPEAT.search(low)
        if asked is None or not _FAITHFULLY.search(low):
            continue
        ends = [mark.end() for mark in re.finditer(r"[.?!] ", low[: asked.start()])]
        before = text[: line.start() + (ends[-1] if ends else 0)].strip()
        after = text[line.end() :].strip()
        if after and (not before or _BELOW.search(low)):
            return after
        return before or None
    return None


def _options(sentence: Masked, following: Sequence[Masked]) -> Constraint | None:
    chosen = _YES_NO.search(sentence.text)
    if chosen and _EXCLUSIVE.search(sentence.text):
        named = [
            sentence.quoted(chosen.group(g)) if chosen.group(g) else chosen.group(w) for g, w in ("ax", "by")
        ]
        return OneOf(tuple(named), only=True)
    offer = _ONE_OF.search(sentence.text)
    if offer is None:
        return None
    numbers = re.findall(r'"#(\d+)"', sentence.text[offer.end() :])
    options = [sentence.quoted(number).strip() for number in numbers]
    if not options and sentence.text.endswith(":"):
        options = [option.original.strip('"') for option in following if "#" not in option.text]
    if len(options) < 2:
        return None
    return OneOf(tuple(options), only=_EXCLUSIVE.search(sentence.text) is not None)
