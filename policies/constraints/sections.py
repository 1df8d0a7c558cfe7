"""The parts of an answer: title, sections, divided paragraphs, highlights, placeholders, a postscript."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.constraints.counting import NUMBER, Range, count_patterns, whole_number
from policies.sentences import first_sentences, split_sentences

_DIVIDER = "***"


@dataclass(frozen=True)
class Title(Constraint):
    """Somewhere stands a title in double angular brackets: `<<title>>`."""

    kind: ClassVar[str] = "title"
    group: ClassVar[str] = "title"

    def check(self, text: str) -> bool:
        """Say whether there is one with something in it."""
        return any(found.strip(" <>") for found in re.findall(r"<<([^\n]+)>>", text))

    def edit(self, text: str) -> str:
        """Put the first words in front as the title."""
        words = re.findall(r"\w+", first_sentences(text, 1))[:6]
        return f"<<{' '.join(words)}>>\n\n{text.strip()}"


@dataclass(frozen=True)
class Sections(Range):
    """Sections that each begin with a word and a number: `Section 1`, `Day 2`."""

    word: str
    kind: ClassVar[str] = "sections"
    group: ClassVar[str] = "sections"

    @property
    def subject(self) -> str:
        """Return the word that marks a section."""
        return self.word.casefold()

    def count(self, text: str) -> int:
        """Count the marks, the case of the word counts."""
        return len(re.findall(rf"\s?{re.escape(self.word)}\s?\d+\s?", text))


@dataclass(frozen=True)
class DividedParagraphs(Constraint):
    """So many paragraphs with `***` between them (a divider at either end does not count)."""

    count: int
    kind: ClassVar[str] = "divided_paragraphs"
    group: ClassVar[str] = "paragraphs"

    def check(self, text: str) -> bool:
        """Count the paragraphs; an empty one in the middle is no paragraph."""
        parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
        inner = parts[1:-1] if len(parts) > 1 else []
        return all(inner) and sum(bool(part) for part in parts) == self.count

    def edit(self, text: str) -> str | None:
        """Put the divider between the paragraphs there are, if they are so many."""
        parts = [part.strip() for part in re.split(r"\s*\*\*\*\s*|\n\s*\n", text) if part.strip()]
        if len(parts) != self.count:
            parts = [sentence.text for sentence in split_sentences(text.replace(_DIVIDER, " "))]
            parts = [*parts[: self.count - 1], " ".join(parts[self.count - 1 :])]
        return f"\n\n{_DIVIDER}\n\n".join(parts) if len(parts) == self.count else None


@dataclass(frozen=True)
class ParagraphStart(Constraint):
    """So many paragraphs between blank lines, and the `place`-th (from 1) begins with a word."""

    word: str
    place: int
    total: int
    kind: ClassVar[str] = "paragraph_start"
    group: ClassVar[str] = "paragraphs"

    def check(self, text: str) -> bool:
        """Count the paragraphs and compare the first word (case and quotation marks do not count)."""
        parts = text.strip().split("\n\n")
        if sum(bool(part.strip()) for part in parts) != self.total or self.place > len(parts):
            return False
        words = parts[self.place - 1].split()
        first = re.split(r"[.,?!'\"]", words[0].lstrip("'\""))[0] if words else ""
        return first.lower() == self.word.lower()

    def edit(self, text: str) -> str | None:
        """Put the word in front of the paragraph, if there are so many."""
        parts = [part for part in text.strip().split("\n\n") if part.strip()]
        if len(parts) != self.total or self.place > self.total:
            return None
        parts[self.place - 1] = f"{self.word} {parts[self.place - 1].lstrip()}"
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Postscript(Constraint):
    """The answer has a postscript that begins with a mark (`P.S.`, `P.P.S`)."""

    marker: str
    kind: ClassVar[str] = "postscript"
    group: ClassVar[str] = "postscript"

    def check(self, text: str) -> bool:
        """Say whether the mark stands there; spaces between its letters and case do not count."""
        letters = re.findall(r"[a-z]", self.marker.lower())
        if letters not in (["p", "s"], ["p", "p", "s"]):
            return self.marker.lower() in text.lower()
        last = r"s\." if len(letters) == 2 else "s"
        return re.search(r"\.\s?".join([*letters[:-1], last]), text.lower()) is not None


@dataclass(frozen=True)
class Placeholders(Range):
    """Placeholders in square brackets: `[address]`."""

    kind: ClassVar[str] = "placeholders"
    group: ClassVar[str] = "placeholders"

    def count(self, text: str) -> int:
        """Count the bracketed stretches on one line."""
        return len(re.findall(r"\[[^\n\]]*\]", text))


@dataclass(frozen=True)
class Highlights(Range):
    """Stretches emphasised in markdown: `*so*` or `**so**`."""

    kind: ClassVar[str] = "highlights"
    group: ClassVar[str] = "highlights"

    def count(self, text: str) -> int:
        """Count what stands between asterisks on one line and is not empty."""
        single = [found for found in re.findall(r"\*([^\n*]*)\*", text) if found.strip()]
        double = [found for found in re.findall(r"\*\*([^\n*]*)\*\*", text) if found.strip()]
        return len(single) + len(double)

    def edit(self, text: str) -> str | None:
        """Emphasise the first two words of the first sentences."""
        missing = (self.minimum or 0) - self.count(text)
        plain = [s for s in split_sentences(text) if "*" not in s.text and len(s.text.split()) > 2]
        if missing <= 0 or len(plain) < missing:
            return None
        for sentence in reversed(plain[:missing]):
            head = re.match(r"\S+\s+\S*\w", sentence.text)
            size = head.end() if head else len(sentence.text)
            start, end = sentence.start, sentence.start + size
            text = f"{text[:start]}*{text[start:end]}*{text[end:]}"
        return text


_ANGLED = (
    r"\btitle\b[^.;]{0,60}?(?:(?:double )?(?:angular|angle) brackets?|<<[^<>]*>>)(?:[,:]? ?(?:i\.e\.,?|"
    r"such as|like|e\.g\.,?)? ?<<[^<>]*>>)?"
)
_PLACEHOLDERS = r"(?:\w+ )?placeholders?\b(?:[^.;,]{0,40}\bbrackets?)?"
_STRETCHES = r"(?:\w+ ){0,2}?(?:sections?|parts?|phrases?|passages?|sentences?|words?|texts?|areas?)\b"
_EMPHASIS = r"(?:highlight|italici[sz]e|bold|embolden|emphasi[sz]e)(?: and \w+)?"
_MANY = rf"(?:(?:at least|a minimum of|no fewer than) )?(?P<n>{NUMBER})"


def _placeholders(low: int | None, high: int | None, match: re.Match[str], sentence: Masked) -> Constraint:
    return Placeholders(low, high)


def _highlights(match: re.Match[str], sentence: Masked) -> Constraint | None:
    """Read how many stretches are to be emphasised; the sentence must speak of markdown."""
    marked = re.search(r"markdown|\*|italic|\bbold", sentence.text)
    vague = match.group("n") in {"a", "an"}
    return Highlights(whole_number(match.group("n")), None) if marked and not vague else None


def _marker(match: re.Match[str], sentence: Masked) -> Constraint | None:
    mark = sentence.quoted(match.group("q")) if match.group("q") else match.group("m")
    letters = re.sub(r"[^ps]", "", mark.lower())
    return {"ps": Postscript("P.S."), "pps": Postscript("P.P.S")}.get(letters)


READERS = (
    pattern_reader(
        "title",
        (
            (_ANGLED, lambda match, sentence: Title()),
            (
                r"\bdouble (?:angular|angle) brackets?[^.;]{0,40}\btitle\b",
                lambda match, sentence: Title(),
            ),
        ),
    ),
    pattern_reader("placeholder", count_patterns(_PLACEHOLDERS, _placeholders)),
    pattern_reader(
        "highlight italic bold emphasi",
        (
            (rf"\b{_EMPHASIS} {_MANY} {_STRETCHES}", _highlights),
            (
                rf"\b{_MANY} {_STRETCHES} (?:\w+ ){{0,3}}?(?:highlighted|italicized|bold|emphasi[sz]ed)\b",
                _highlights,
            ),
            (rf"\b{_MANY} (?:highlighted|italic\w*|bold\w*|emphasi[sz]ed) {_STRETCHES}", _highlights),
        ),
    ),
    pattern_reader(
        "postscript p.s p.p.s",
        (
            (
                r"\b(?:postscript|post script|p\.s\. note)\b(?:(?! not\b)[^;]){0,80}?\b(?:start\w*|begin\w*|"
                r"mark\w*|label\w*|introduc\w*) (?:with|by|as)(?: the)?(?: \w+)? (?:\"#(?P<q>\d+)\"|"
                r"(?P<m>p\. ?(?:p\. ?)?s\b\.?))",
                _marker,
            ),
        ),
    ),
)


_COUNTED_SECTIONS = re.compile(rf"(?<![\w-])(?P<n>{NUMBER}) (?:\w+ )?sections?\b")
_SECTION_MARK = re.compile(
    r"\bsections?\b(?:'s)?,?(?: \w+){0,4}? (?:with|by|as)(?: the)?(?: (?:word|words|title|label|heading))?:? "
    r'(?:"#(?P<q>\d+)"|(?P<word>[a-z]+) (?:x|#|n)\b)'
)
_COUNTED_PARAGRAPHS = re.compile(
    rf"(?<![\w-])(?P<before>at least |at most |more than |less than |or )?(?P<n>{NUMBER}) (?:\w+ "
    rf")?(?:paragraphs?|sections?|parts)\b"
)
_DIVIDERS = re.compile(r"(?<!\*)\*{3}(?!\*)")
_DIVIDING = re.compile(r"\b(?:separat\w+|divid\w+|split)\b")
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PLACE = (
    rf"(?:paragraph (?P<k>{NUMBER})|the (?:(?P<o>{'|'.join(_PLACES)})|(?P<d>\d\d?)(?:st|nd|rd|th)) paragraph)"
)
_FIRST_WORD = r'(?: the)?(?: word)? (?:"#(?P<q>\d+)"|(?P<word>[a-z]+)(?= ?(?:[.,;]|$)))'
_PARAGRAPH_STARTS = (
    re.compile(rf"\b{_PLACE} (?:\w+ )?(?:start|begin)s? with{_FIRST_WORD}"),
    re.compile(rf"\b(?:start|begin) {_PLACE} with{_FIRST_WORD}"),
)


def read_passage(sentences: Sequence[Masked]) -> Iterator[Constraint]:
    """Find what two sentences say together: sections and their mark, paragraphs and what divides them."""
    yield from _marked_sections(sentences)
    yield from _paragraphs(sentences)


def _marked_sections(sentences: Sequence[Masked]) -> Iterator[Constraint]:
    for place, sentence in enumerate(sentences):
        counted = _COUNTED_SECTIONS.search(sentence.text)
        if counted is None or counted.group("n") in {"a", "an"}:
            continue
        for marking in sentences[place : place + 3]:
            mark = _SECTION_MARK.search(marking.text)
            if mark:
                written = (
                    marking.quoted(mark.group("q"))
                    if mark.group("q")
                    else marking.as_written(*mark.span("word"))
                )
                word = re.sub(r"\s*(?:\b[XxNn]|#|\d+)\W*$", "", written).strip()
                if word:
                    yield Sections(whole_number(counted.group("n")), None, word)
                return


def _paragraphs(sentences: Sequence[Masked]) -> Iterator[Constraint]:
    counts = [
        (place, whole_number(match.group("n")))
        for place, sentence in enumerate(sentences)
        for match in _COUNTED_PARAGRAPHS.finditer(sentence.text)
        if match.group("before") is None and match.group("n") not in {"a", "an"}
    ]
    if not counts:
        return
    starts = [
        (sentence, match)
        for sentence in sentences
        for pattern in _PARAGRAPH_STARTS
        for match in pattern.finditer(sentence.text)
    ]
    for sentence, match in starts:
        word = (
            sentence.quoted(match.group("q"))
            if match.group("q")
            else sentence.as_written(*match.span("word"))
        )
        nth = (
            _PLACES.index(match.group("o")) + 1
            if match.group("o")
            else whole_number(match.group("k") or match.group("d"))
        )
        yield ParagraphStart(word.strip(), nth, counts[0][1])
    for place, count in counts if not starts else ():
        near = sentences[place : place + 8]
        if any(_DIVIDERS.search(s.text) and _DIVIDING.search(s.text) for s in near):
            yield DividedParagraphs(count)
            return
