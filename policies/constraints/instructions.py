"""The 25 verifiable instructions of IFEval (arXiv 2311.07911) as constraints.

Where the benchmark's convention is sharper than what a person means, a subclass here follows it: it has the
same kind and arguments as the constraint that the reader finds in a text, and always decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.constraints.bullets import Bullets
from policies.constraints.constraint import Constraint, Detect
from policies.constraints.frequency import CapitalWords, LetterFrequency, WordFrequency
from policies.constraints.json_object import ValidJson
from policies.constraints.language import Language
from policies.constraints.length import SentenceCount, WordCount
from policies.constraints.letter_case import LetterCase
from policies.constraints.phrases import EndsWith, Quoted
from policies.constraints.punctuation import NoCharacter
from policies.constraints.responses import OneOf, RepeatRequest, TwoResponses
from policies.constraints.sections import (
    DividedParagraphs,
    Highlights,
    ParagraphStart,
    Placeholders,
    Postscript,
    Sections,
    Title,
)
from policies.constraints.words import ForbiddenWords, RequiredWords
from policies.sentences import ABBREVIATIONS

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The options of `detectable_format:constrained_response`."""


@dataclass(frozen=True)
class WordTokens(WordCount):
    """Words are runs of word characters: "don't" is two."""

    def check(self, text: str) -> bool:
        """Say whether the count lies in the range."""
        return self.within(len(re.findall(r"\w+", text)))


@dataclass(frozen=True)
class Substrings(RequiredWords):
    """A keyword counts inside other words too."""

    def check(self, text: str) -> bool:
        """Say whether all of them are there."""
        return all(word.casefold() in text.casefold() for word in self.words)


@dataclass(frozen=True)
class SubstringFrequency(WordFrequency):
    """A keyword counts inside other words too."""

    def check(self, text: str) -> bool:
        """Say whether the count lies in the range."""
        return self.within(len(re.findall(re.escape(self.word), text, re.I)))


@dataclass(frozen=True)
class NoSubstring(ForbiddenWords):
    """A keyword counts inside other words too."""

    def check(self, text: str) -> bool:
        """Say whether none of them is there."""
        return not any(word.casefold() in text.casefold() for word in self.words)


@dataclass(frozen=True)
class NoPlainComma(NoCharacter):
    """Commas of other scripts do not count."""

    def check(self, text: str) -> bool:
        """Say whether none is there."""
        return "," not in text


@dataclass(frozen=True)
class CapitalTokens(CapitalWords):
    """A contraction is two words: "I'm" counts its "I"."""

    def count(self, text: str) -> int:
        """Count the words all of whose letters are capitals."""
        return super().count(re.sub(r"['’]", " ", text))


@dataclass(frozen=True)
class RunningSentences(SentenceCount):
    """A line break ends no sentence: verses and headings run on to the next mark."""

    def count(self, text: str) -> int:
        """Count the sentences of the text as one line."""
        return len(running_sentences(text))


@dataclass(frozen=True)
class ExactOption(OneOf):
    """The option stands in the answer letter by letter."""

    def check(self, text: str) -> bool:
        """Look for the options."""
        return any(option in text for option in self.options)


@dataclass(frozen=True)
class MarkdownBullets(Bullets):
    """A bullet is a line that begins with one asterisk or with a hyphen, with or without a space."""

    def check(self, text: str) -> bool:
        """Count them."""
        starred = re.findall(r"^\s*\*[^\*].*$", text, re.M)
        return len(starred) + len(re.findall(r"^\s*-.*$", text, re.M)) == self.count


@dataclass(frozen=True)
class StraightQuoted(Quoted):
    """Only straight double quotation marks count."""

    def check(self, text: str) -> bool:
        """Look at the first and the last character."""
        return len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'


@dataclass(frozen=True)
class LastPhrase(EndsWith):
    """Nothing but double quotation marks may stand around the answer."""

    def check(self, text: str) -> bool:
        """Compare the end; case does not count."""
        return text.strip().strip('"').lower().endswith(self.phrase.strip().lower())


@dataclass(frozen=True)
class LooseJson(ValidJson):
    """Any JSON value, with or without a code fence around it."""

    def check(self, text: str) -> bool:
        """Parse what is left without the fence."""
        bare = re.sub(r"\A```(?:json)?|```\Z", "", text.strip(), flags=re.I)
        try:
            json.loads(bare)
        except (ValueError, RecursionError):
            return False
        return True


@dataclass(frozen=True)
class EnglishCase(LetterCase):
    """All letters in one case, in English."""

    detect: Detect | None = field(default=None, compare=False, repr=False)

    def check(self, text: str) -> bool:
        """Look at the case, then at the language; one that cannot be told is no offence."""
        cased = text.isupper() if self.upper else text.islower()
        return cased and (self.detect is None or self.detect(text) in {"en", None})


@dataclass(frozen=True)
class GivenLanguage(Language):
    """A language that cannot be told is no offence."""

    def check(self, text: str) -> bool:
        """Compare the detected language."""
        return self.detect(text) in {self.code, None}


_END = re.compile(r"(?P<word>[^\s.!?]?\S*?)(?P<marks>[.!?]+)(?P<closers>[\"'”’)\]*_»]*)\s+(?=\S)")
_OUTER = "\"'“‘([*_#-•"


def running_sentences(text: str) -> list[str]:
    """Return the sentences of a text in which white space of any kind is a blank."""
    found, begin = [], 0
    for match in _END.finditer(text):
        if match.group("marks") != "." or not _is_abbreviation(match.group("word"), text[match.end()]):
            found.append(text[begin : match.end()].strip())
            begin = match.end()
    return [sentence for sentence in (*found, text[begin:].strip()) if any(c.isalnum() for c in sentence)]


def _is_abbreviation(word: str, following: str) -> bool:
    """Say whether a word before a dot is an abbreviation or an initial (a postscript's mark is none)."""
    bare = word.strip(_OUTER).lower()
    if bare == "no":  # the answer, or the number of something
        return following.isdigit()
    initials = re.fullmatch(r"(?:[a-z]\.)*[a-z]", bare) is not None and bare not in {"i", "p.s", "p.p.s"}
    return bare in ABBREVIATIONS or initials


Arguments = Mapping[str, Any]
Build = Callable[[Arguments, Detect | None], Constraint | None]


def _limits(arguments: Arguments, number: str, relation: str = "relation") -> tuple[int | None, int | None]:
    count = int(arguments[number])
    return (None, count - 1) if arguments[relation] == "less than" else (count, None)


def _frequency(arguments: Arguments, detect: Detect | None) -> Constraint:
    low, high = _limits(arguments, "frequency")
    word = str(arguments["keyword"])
    return NoSubstring((word,)) if high == 0 else SubstringFrequency(low, high, word)


def _language(arguments: Arguments, detect: Detect | None) -> Constraint | None:
    return None if detect is None else GivenLanguage(str(arguments["language"]).split("-")[0], detect)


_BUILDERS: dict[str, Build] = {
    "change_case:capital_word_frequency": lambda a, d: CapitalTokens(
        *_limits(a, "capital_frequency", "capital_relation")
    ),
    "change_case:english_capital": lambda a, d: EnglishCase(upper=True, detect=d),
    "change_case:english_lowercase": lambda a, d: EnglishCase(upper=False, detect=d),
    "combination:repeat_prompt": lambda a, d: RepeatRequest(str(a["prompt_to_repeat"])),
    "combination:two_responses": lambda a, d: TwoResponses(),
    "detectable_content:number_placeholders": lambda a, d: Placeholders(int(a["num_placeholders"]), None),
    "detectable_content:postscript": lambda a, d: Postscript(str(a["postscript_marker"])),
    "detectable_format:constrained_response": lambda a, d: ExactOption(ANSWERS, only=False),
    "detectable_format:json_format": lambda a, d: LooseJson(),
    "detectable_format:multiple_sections": lambda a, d: Sections(
        int(a["num_sections"]), None, str(a["section_spliter"])
    ),
    "detectable_format:number_bullet_lists": lambda a, d: MarkdownBullets(int(a["num_bullets"]), only=False),
    "detectable_format:number_highlighted_sections": lambda a, d: Highlights(int(a["num_highlights"]), None),
    "detectable_format:title": lambda a, d: Title(),
    "keywords:existence": lambda a, d: Substrings(tuple(a["keywords"])),
    "keywords:forbidden_words": lambda a, d: ForbiddenWords(tuple(a["forbidden_words"])),
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": lambda a, d: LetterFrequency(
        *_limits(a, "let_frequency", "let_relation"), str(a["letter"])
    ),
    "language:response_language": _language,
    "length_constraints:nth_paragraph_first_word": lambda a, d: ParagraphStart(
        str(a["first_word"]), int(a["nth_paragraph"]), int(a["num_paragraphs"])
    ),
    "length_constraints:number_paragraphs": lambda a, d: DividedParagraphs(int(a["num_paragraphs"])),
    "length_constraints:number_sentences": lambda a, d: RunningSentences(*_limits(a, "num_sentences")),
    "length_constraints:number_words": lambda a, d: WordTokens(*_limits(a, "num_words")),
    "punctuation:no_comma": lambda a, d: NoPlainComma("comma"),
    "startend:end_checker": lambda a, d: LastPhrase(str(a["end_phrase"])),
    "startend:quotation": lambda a, d: StraightQuoted(),
}
INSTRUCTION_IDS = frozenset(_BUILDERS)
"""The instruction ids that `constraint_from_instruction` knows."""


def constraint_from_instruction(
    instruction_id: str, arguments: Arguments, detect: Detect | None = None
) -> Constraint | None:
    """Return the constraint of an IFEval instruction id and its kwargs.

    None where the id is unknown, or where a language is to be detected and there is no detector. Raises
    KeyError or ValueError where an argument is missing or none at all.
    """
    build = _BUILDERS.get(instruction_id)
    return build(arguments, detect) if build else None
