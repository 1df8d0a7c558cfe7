"""How often a word, a letter or words in capitals occur."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.constraints.counting import TIMES, Range, count_patterns, times
from policies.constraints.words import ForbiddenWords
from policies.sentences import split_sentences

_TOKEN = re.compile(r"[^\W_](?:[\w'’&./-]*[^\W_])?")


@dataclass(frozen=True)
class WordFrequency(Range):
    """How often a word occurs. It cannot be told where other words that hold it decide ("cats")."""

    word: str
    kind: ClassVar[str] = "word_frequency"
    group: ClassVar[str] = ""  # several words can be counted at once

    @property
    def subject(self) -> str:
        """Return the word."""
        return self.word.casefold()

    def count(self, text: str) -> int:
        """Count the word as a whole word; case does not count."""
        return len(re.findall(rf"(?<!\w){re.escape(self.word)}(?!\w)", text, re.I))

    def check(self, text: str) -> bool | None:
        """Say whether the count lies in the range, counted as whole words and as parts of words."""
        whole = super().check(text)
        within = self.within(len(re.findall(re.escape(self.word), text, re.I)))
        return whole if whole == within or not text.strip() else None

    def edit(self, text: str) -> str | None:
        """Drop sentences that hold the word until it is rare enough."""
        if self.maximum is None:
            return None
        kept = [sentence.text for sentence in split_sentences(text)]
        for place in range(len(kept) - 1, -1, -1):
            if self.count(" ".join(kept)) <= self.maximum:
                break
            if self.count(kept[place]):
                del kept[place]
        return " ".join(kept) or None


@dataclass(frozen=True)
class LetterFrequency(Range):
    """How often a letter (or another single character) occurs; case does not count."""

    letter: str
    kind: ClassVar[str] = "letter_frequency"
    group: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        """Return the letter."""
        return self.letter.casefold()

    def count(self, text: str) -> int:
        """Count the letter."""
        return text.lower().count(self.letter.lower())


@dataclass(frozen=True)
class CapitalWords(Range):
    """How many words are written in capital letters only ("I" is one)."""

    kind: ClassVar[str] = "capital_words"
    group: ClassVar[str] = "capital_words"
    confidence: ClassVar[float] = 0.92

    def count(self, text: str) -> int:
        """Count the words all of whose letters are capitals."""
        return sum(token.isupper() for token in _TOKEN.findall(text))

    def edit(self, text: str) -> str | None:
        """Put the first words in capitals where there are too few, and the last where there are too many."""
        missing = (self.minimum or 0) - self.count(text)
        if missing <= 0:
            return None
        words = [m for m in _TOKEN.finditer(text) if m.group().isalpha() and not m.group().isupper()]
        for match in words[:missing]:
            text = text[: match.start()] + match.group().upper() + text[match.end() :]
        return text


_WORD = r"(?:the |a )?(?:word|keyword|term|phrase)s? "
_NAMED = r'(?:"#(?P<n>\d+)"|(?P<bare>[a-z][a-z-]+))'
_LETTER = (
    r'(?:the |a )?(?:letter|character)s?:? (?:"#(?P<n>\d+)"|(?P<bare>[a-z])\b)(?: \((?:in )?(?:case|upper|'
    r"lower)[^)]*\))?"
)
_OCCURS = (
    r"(?: (?:should|must|has to|have to|needs to|needs? to|is to|to|will|can|may))?(?: only)?"
    r" (?:appears?|occurs?|shows? up|be (?:used|included|mentioned|present|repeated)|is (?:used|included|"
    r"mentioned))"
)
_PLACE = r"(?:(?:,? (?:in|within|throughout) (?:your|the|this|my) (?:whole |entire )?[a-z]+)?)"
_USE = (
    r"\b(?:use|uses|using|include|includes|including|mention|mentions|mentioning|contain|contains|"
    r"containing|say|repeat|write|have)"
)
_NEVER = (
    r"(?:do not|don't|never|must not|should not|shouldn't|cannot|can't|without|avoid)(?: use| using|"
    r" include| including| contain| containing| have)?"
)


def _counted(match: re.Match[str], sentence: Masked) -> tuple[str, int | None, int | None] | None:
    limits = times(match)
    named = match.group("n")
    word = sentence.quoted(named).strip() if named else match.group("bare")
    # The number of times in one section or line is none of the answer.
    if limits is None or re.search(r"\b(?:each|every|per) ", sentence.text[match.end() :]):
        return None
    return (word, *limits) if any(c.isalnum() for c in word) or len(word) == 1 else None


def _word(match: re.Match[str], sentence: Masked) -> Constraint | None:
    found = _counted(match, sentence)
    if found is None:
        return None
    word, low, high = found
    return ForbiddenWords((word,)) if high == 0 else WordFrequency(low, high, word)


def _not_more(match: re.Match[str], sentence: Masked) -> Constraint | None:
    """Read "do not use the word X more than twice"."""
    limits = times(match)
    word = sentence.quoted(match.group("n")).strip() if match.group("n") else match.group("bare")
    if limits is None or limits[0] is None or limits[1] is not None or match.group("bound") != "more than":
        return None
    return WordFrequency(None, limits[0] - 1, word)


def _letter(match: re.Match[str], sentence: Masked) -> Constraint | None:
    found = _counted(match, sentence)
    return LetterFrequency(found[1], found[2], found[0]) if found and len(found[0]) == 1 else None


def _no_letter(match: re.Match[str], sentence: Masked) -> Constraint | None:
    named = match.group("n")
    letter = sentence.quoted(named).strip() if named else match.group("bare")
    return LetterFrequency(None, 0, letter) if len(letter) == 1 else None


def _capitals(low: int | None, high: int | None, match: re.Match[str], sentence: Masked) -> Constraint:
    return CapitalWords(low, high)


def _capital_times(match: re.Match[str], sentence: Masked) -> Constraint | None:
    limits = times(match)
    return CapitalWords(*limits) if limits else None


_CAPITAL = (
    r"(?:(?:in |with |using |of )?(?:all |only |full )*(?:capital(?: letters?)?|capitals|caps|"
    r"upper ?-?case(?: letters?)?|capitali[sz]ed))"
)
_CAPITAL_WORDS = (
    rf"(?:words?(?: \w+){{0,2}} {_CAPITAL}|(?:such )?(?:fully |all[- ]?)?(?:capitali[sz]ed|capital|"
    rf"all[- ]caps|upper ?-?case) words?)"
)

READERS = (
    pattern_reader(
        "times once twice time",
        (
            (
                rf"\b(?:do not|don't|never|avoid) (?:use|using|mention\w*|includ\w+|repeat\w*|say\w*) "
                rf"{_WORD}{_NAMED}{_PLACE} {TIMES}",
                _not_more,
            ),
            (rf"{_USE} {_LETTER}{_PLACE} (?:for )?{TIMES}", _letter),
            (rf"{_LETTER}{_PLACE}{_OCCURS}{_PLACE} (?:for )?{TIMES}", _letter),
            (rf"{_USE} {_CAPITAL_WORDS}{_PLACE} (?:for )?{TIMES}", _capital_times),
            (rf"{_CAPITAL_WORDS}{_PLACE}{_OCCURS}{_PLACE} (?:for )?{TIMES}", _capital_times),
            (rf"{_USE} (?:{_WORD})?\"#(?P<n>\d+)\"{_PLACE} (?:for )?{TIMES}", _word),
            (rf"{_USE} {_WORD}{_NAMED}{_PLACE} (?:for )?{TIMES}", _word),
            (rf"\b{_WORD}{_NAMED}{_PLACE}{_OCCURS}{_PLACE} (?:for )?{TIMES}", _word),
            (rf"(?<!\w)\"#(?P<n>\d+)\"{_PLACE}{_OCCURS}{_PLACE} (?:for )?{TIMES}", _word),
        ),
    ),
    pattern_reader(
        "letter", ((rf"\b{_NEVER} (?:any )?{_LETTER}(?!.*\b(?:times|once|twice)\b)", _no_letter),)
    ),
    pattern_reader("capital caps upper", count_patterns(_CAPITAL_WORDS, _capitals)),
)
