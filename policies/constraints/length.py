"""How long an answer may be: words, sentences, lines, paragraphs, characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Build, Constraint, Masked, pattern_reader
from policies.constraints.counting import NUMBER, Bounded, Range, count_patterns, whole_number
from policies.sentences import first_sentences, split_sentences, word_set

_DANGLING = word_set(
    """
    the a an and or of to in for that which with is are by as on can from your their its it but
    """
)


@dataclass(frozen=True)
class WordCount(Range):
    """Words. Near the limit, where ways to count them differ ("don't"), it cannot be told."""

    kind: ClassVar[str] = "word_count"
    group: ClassVar[str] = "words"

    def check(self, text: str) -> bool | None:
        """Say whether the count lies in the range, as white space and as `\\w+` count it."""
        spaced = super().check(text)
        split = len(re.findall(r"\w+", text))
        return spaced if spaced == self.within(split) or not split else None

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
class SentenceCount(Range):
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
class LineCount(Range):
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
class ParagraphCount(Range):
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


@dataclass(frozen=True)
class CharacterCount(Range):
    """Characters, without the white space around the answer."""

    kind: ClassVar[str] = "character_count"
    group: ClassVar[str] = "characters"

    def count(self, text: str) -> int:
        """Count the characters."""
        return len(text.strip())

    def edit(self, text: str) -> str | None:
        """Keep the leading sentences that fit."""
        if self.maximum is None:
            return None
        kept = ""
        for sentence in split_sentences(text):
            longer = f"{kept} {' '.join(sentence.text.split())}".strip()
            if len(longer) > self.maximum:
                break
            kept = longer
        return kept or None


def _paragraphs(text: str) -> list[str]:
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


_UNITS: tuple[tuple[str, type[Range]], ...] = (
    ("words?", WordCount),
    ("sentences?", SentenceCount),
    ("lines?", LineCount),
    ("paragraphs?", ParagraphCount),
    ("(?:characters?|chars)", CharacterCount),
)
_ADJECTIVE = r"(?:short |brief |concise |simple |plain |full |complete |clear |single |long |total )*"
# A length of something else than the answer: "a title of at most five words", "each sentence in ten words".
_OF_A_PART = re.compile(
    r"\b(?:titles?|headings?|headlines?|subjects?|commits?|bullets?|(?:each|every|"
    r"per) (?!(?:single )?(?:answer|reply|response|message|turn|time)\b)\w+|names?|"
    r"divider|separat\w+|limericks?|haikus?|stanzas?|verses?|sections?|steps?|functions?|methods?|"
    r"line length|paragraph of|paragraph \d|first|last|descriptions?|comments?|docstrings?|quotes?|"
    r"passwords?|files?|summary line|tweets?|branch|labels?|of code|input|query|keywords?|"
    r"fields?|columns?|values?|strings?|tokens?|lines?|rows?|variables?|capital\w*|upper\w*|lower\w*|"
    r"starting with|that start|beginning with|vowels?|the user)\b"
)


# What is said of each of several things, or of a thing by properties one by one, is not said of the answer.
_EACH = re.compile(
    r"\b(?:each|every) (?!(?:single )?(?:of your )?(?:answers?|repl(?:y|ies)|responses?|messages?|turn|"
    r"time)\b)|\b\d\) "
)


def _is_of_a_part(match: re.Match[str], sentence: Masked) -> bool:
    if _EACH.search(sentence.text, 0, match.start()):
        return True
    clause = sentence.clause(*match.span())
    return _OF_A_PART.search(clause.replace(match.group(), " ", 1)) is not None


def _of_the_answer(build: type[Range]) -> Bounded:
    def read(low: int | None, high: int | None, match: re.Match[str], sentence: Masked) -> Constraint | None:
        if _is_of_a_part(match, sentence):
            return None
        return build(low, high)

    return read


_BOUND_BEFORE = re.compile(r"\blimit\w* (?:\w+ ){0,4}$")
_BOUND_BEHIND = re.compile(
    r",? (?:or (?:fewer|less|more|longer|under)|at (?:most|least)|max(?:imum)?|minimum|tops)\b"
    rf"(?! (?:for|of|{NUMBER})\b)"  # "in two sentences, at least ten words": the bound of another number
)


def _is_bounded(match: re.Match[str], sentence: Masked) -> bool:
    """Say whether the number is a limit ("in three sentences or fewer"), which other patterns read."""
    text, found = sentence.text, match.group()
    limited = found.startswith("to ") and match.groupdict().get("m") is None and " only " not in f" {found} "
    before = limited and _BOUND_BEFORE.search(text[: match.start()])
    return bool(before or _BOUND_BEHIND.match(text, match.end()))


def _few(build: type[Range], unit: str) -> tuple[tuple[str, Build], ...]:
    """Read "in one or two sentences" and "in one line". Words are never meant so exactly."""

    def read(match: re.Match[str], sentence: Masked) -> Constraint | None:
        # "Use it in a sentence" is a task.
        if _is_of_a_part(match, sentence) or match.group("n") in {"a", "an"} or _is_bounded(match, sentence):
            return None
        upper = match.groupdict().get("m") or match.group("n")
        return build(whole_number(match.group("n")), whole_number(upper))

    head = r"\b(?:in|with|using|to|use|give|write|as)(?: only| just| exactly)? "
    return (
        (rf"{head}(?P<n>{NUMBER})(?: or | to | - |-)(?P<m>{NUMBER}) {_ADJECTIVE}{unit}\b(?: only)?", read),
        (rf"{head}(?P<n>{NUMBER}) {_ADJECTIVE}{unit}\b(?: only)?", read),
        (rf"^(?:just |only )?(?P<n>{NUMBER}) {_ADJECTIVE}{unit} (?:only|please)\b", read),
    )


_ONE_LINER = (
    r"\b(?:be|as|in|with|give|use|only) (?:me |only )*(?:a )?(?:one-liners?|one-line (?:answers?|repl(?:y|"
    r"ies)|responses?))\b"
)
READERS = (
    *(
        pattern_reader(cues, count_patterns(rf"{_ADJECTIVE}{unit}\b", _of_the_answer(build)))
        for (unit, build), cues in zip(_UNITS, ("word", "sentence", "line", "paragraph", "char"), strict=True)
    ),
    *(
        pattern_reader(unit, _few(build, f"{unit}s?"))
        for unit, build in (("sentence", SentenceCount), ("line", LineCount), ("paragraph", ParagraphCount))
    ),
    pattern_reader(
        "word",
        (
            (
                r"\b(?:answer|reply|respond)(?: me)? (?:only |just )?(?:with|in|using) (?:only |just |"
                r"exactly )*(?:one|a single|1) word\b",
                lambda match, sentence: WordCount(1, 1),
            ),
        ),
    ),
    pattern_reader("one-line", ((_ONE_LINER, lambda match, sentence: LineCount(1, 1)),)),
)
