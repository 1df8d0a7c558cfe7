"""How long an answer may be: words, sentences, lines, paragraphs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import NUMBER, Build, Constraint, Masked, pattern_reader, whole_number
from policies.sentences import first_sentences, split_sentences, word_set

_DANGLING = word_set(
    """
    the a an and or of to in for that which with is are by as on can from your their its it but
    """
)


@dataclass(frozen=True)
class _Range(Constraint):
    """A count between `minimum` and `maximum`; a side that is None is open."""

    minimum: int | None
    maximum: int | None

    def count(self, text: str) -> int:
        """Count the unit in the text."""
        raise NotImplementedError

    def check(self, text: str) -> bool | None:
        """Say whether the count lies in the range (an empty text never does)."""
        count = self.count(text)
        return count > 0 and count >= (self.minimum or 0) and (self.maximum is None or count <= self.maximum)


@dataclass(frozen=True)
class WordCount(_Range):
    """Words. Near the limit, where ways to count them differ ("don't"), it cannot be told."""

    kind: ClassVar[str] = "word_count"
    group: ClassVar[str] = "words"

    def check(self, text: str) -> bool | None:
        """Say whether the count lies in the range, as white space and as `\\w+` count it."""
        spaced = super().check(text)
        split = len(re.findall(r"\w+", text))
        apart = split >= (self.minimum or 0) and (self.maximum is None or split <= self.maximum)
        return spaced if spaced == apart or not split else None

    def count(self, text: str) -> int:
        """Count the words, as white space separates them; a mark on its own is no word."""
        return sum(1 for word in text.split() if any(c.isalnum() for c in word))

    def edit(self, text: str) -> str | None:
        """Keep the leading sentences that fit, else cut the first one short."""
        if self.maximum is None:
            return None
        kept: list[str] = []
        for sentence in split_sentences(text):
            if self.count(" ".join([*kept, sentence.text])) > self.maximum:
                break
            kept.append(" ".join(sentence.text.split()))
        if kept and self.check(" ".join(kept)):
            return " ".join(kept)
        words = first_sentences(text, 1).split()[: self.maximum]
        while len(words) > 3 and (
            words[-1].lower().strip(",;") in _DANGLING or not self.check(" ".join(words))
        ):
            words.pop()
        return " ".join(words).rstrip(" ,;:.!?") + "." if words else None


@dataclass(frozen=True)
class SentenceCount(_Range):
    """Sentences, as `policies.sentences` cuts them."""

    kind: ClassVar[str] = "sentence_count"
    group: ClassVar[str] = "sentences"
    confidence: ClassVar[float] = 0.92

    def count(self, text: str) -> int:
        """Count the sentences."""
        return len(split_sentences(text))

    def edit(self, text: str) -> str | None:
        """Keep the leading sentences."""
        return first_sentences(text, self.maximum) if self.maximum is not None else None


@dataclass(frozen=True)
class LineCount(_Range):
    """Lines that are not blank."""

    kind: ClassVar[str] = "line_count"
    group: ClassVar[str] = "lines"

    def count(self, text: str) -> int:
        """Count the lines."""
        return sum(1 for line in text.split("\n") if line.strip())

    def edit(self, text: str) -> str | None:
        """Keep the leading lines; of an answer asked for in one line, the first sentence."""
        if self.maximum is None:
            return None
        if self.maximum == 1:
            return first_sentences(text, 1)
        return "\n".join([line for line in text.split("\n") if line.strip()][: self.maximum])


@dataclass(frozen=True)
class ParagraphCount(_Range):
    """Blocks of text between blank lines."""

    kind: ClassVar[str] = "paragraph_count"
    group: ClassVar[str] = "paragraphs"
    confidence: ClassVar[float] = 0.8  # people mean many things by it

    def count(self, text: str) -> int:
        """Count the paragraphs."""
        return len(_paragraphs(text))

    def edit(self, text: str) -> str | None:
        """Keep the leading paragraphs."""
        return "\n\n".join(_paragraphs(text)[: self.maximum]) if self.maximum is not None else None


def _paragraphs(text: str) -> list[str]:
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


_UNITS: tuple[tuple[str, type[_Range]], ...] = (
    ("words?", WordCount),
    ("sentences?", SentenceCount),
    ("lines?", LineCount),
    ("paragraphs?", ParagraphCount),
)
_ADJECTIVE = r"(?:short |brief |concise |simple |plain |full |complete |clear |single )*"
# A length of something else than the answer: "a title of at most five words", "each sentence in ten words".
_OF_A_PART = re.compile(
    r"\b(?:title|heading|headline|subject|summary line|commit|each|every|per|bullets?|names?|"
    r"divider|separat\w+|limerick|haiku|poem|section|step|function|line length|paragraph of|first|last)\b"
)


def _table(unit: str, build: type[_Range]) -> tuple[tuple[str, Build], ...]:
    n, m = rf"(?P<n>{NUMBER})", rf"(?P<m>{NUMBER})"
    tail = rf" {_ADJECTIVE}{unit}\b(?: long| in length| or (?:fewer|less)| maximum| max)?"

    def between(low: int | None, high: int | None) -> Build:
        """Build a reader: `low` and `high` are added to the number(s); None leaves the side open."""

        def read(match: re.Match[str], sentence: Masked) -> Constraint | None:
            if _OF_A_PART.search(sentence.text):
                return None
            first = whole_number(match.group("n"))
            second = whole_number(match.group("m")) if "m" in match.re.groupindex else first
            if second < first:
                return None
            return build(None if low is None else first + low, None if high is None else second + high)

        return read

    return (
        (rf"\bbetween {n} and {m}{tail}", between(0, 0)),
        (rf"\b(?:(?:fewer|less) than|under|below) {n}{tail}", between(None, -1)),
        (rf"\b(?:more than|over) {n}{tail}", between(1, None)),
        (
            rf"\b(?:at most|no more than|not more than|no longer than|up to|maximum|max|within|"
            rf"(?:do not|don't|never) (?:exceed|use more than|write more than|go over))(?: of)? {n}{tail}",
            between(None, 0),
        ),
        (rf"\b(?:at least|no fewer than|(?:not|no) less than|minimum)(?: of)? {n}{tail}", between(0, None)),
        (rf"\b{n} {_ADJECTIVE}{unit} (?:or (?:fewer|less)|at most|max(?:imum)?|tops)\b", between(None, 0)),
        (rf"\b{n} (?:or more {_ADJECTIVE}{unit}|{unit} or more)\b", between(0, None)),
        (rf"\bexactly {n}{tail}", between(0, 0)),
    )  # fmt: skip


def _few(build: type[_Range]) -> tuple[tuple[str, Build], ...]:
    """Read "in one or two sentences" and "in one line". Words are never meant so exactly."""
    unit = {SentenceCount: "sentences?", LineCount: "lines?", ParagraphCount: "paragraphs?"}[build]

    def read(match: re.Match[str], sentence: Masked) -> Constraint | None:
        # "Use it in a sentence" is a task.
        if _OF_A_PART.search(sentence.text) or match.group("n") in {"a", "an"}:
            return None
        upper = match.groupdict().get("m") or match.group("n")
        return build(whole_number(match.group("n")), whole_number(upper))

    head = r"\b(?:in|with|using|to|use|give|write)(?: only| just| exactly)? "
    return (
        (rf"{head}(?P<n>{NUMBER})(?: or | to | - |-)(?P<m>{NUMBER}) {_ADJECTIVE}{unit}\b(?: only)?", read),
        (rf"{head}(?P<n>{NUMBER}) {_ADJECTIVE}{unit}\b(?: only)?", read),
    )


READERS = tuple(pattern_reader(_table(unit, build)) for unit, build in _UNITS) + tuple(
    pattern_reader(_few(build)) for build in (SentenceCount, LineCount, ParagraphCount)
)
