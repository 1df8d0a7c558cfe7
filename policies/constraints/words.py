"""Words that an answer must not or must contain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.sentences import split_sentences, word_set

_DROPPABLE = word_set("the a an very really just quite simply actually basically certainly sure so well")


def _whole(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.I)


@dataclass(frozen=True)
class ForbiddenWords(Constraint):
    """None of the words or phrases stands in the answer (as whole words, case does not count)."""

    words: tuple[str, ...]
    kind: ClassVar[str] = "forbidden_words"
    group: ClassVar[str] = ""  # several can hold at once

    def check(self, text: str) -> bool:
        """Say whether none of them is there (an empty text says nothing)."""
        return bool(text.strip()) and not any(_whole(word).search(text) for word in self.words)

    def edit(self, text: str) -> str | None:
        """Drop the words where a sentence stands without them, else the sentences that hold them."""
        if all(word.lower() in _DROPPABLE for word in self.words):
            return self._without_words(text)
        kept = [s.text for s in split_sentences(text) if self.check(s.text)]
        return " ".join(kept) or None

    def _without_words(self, text: str) -> str:
        for word in self.words:
            text = re.sub(rf"{_whole(word).pattern}[ \t]*", "", text, flags=re.I)
        text = re.sub(r"[ \t]+(?=[.,;:!?\n]|\Z)", "", text).strip()
        return re.sub(r"(\A|[.!?]\s+)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


@dataclass(frozen=True)
class RequiredWords(Constraint):
    """Each of the words or phrases stands somewhere in the answer (case does not count)."""

    words: tuple[str, ...]
    kind: ClassVar[str] = "required_words"
    group: ClassVar[str] = ""

    def check(self, text: str) -> bool | None:
        """Say whether all of them are there; None where one only stands inside another word ("riddles")."""
        if all(_whole(word).search(text) for word in self.words):
            return True
        return None if all(word.casefold() in text.casefold() for word in self.words) else False


_WORD = r"(?:exact |following |actual )*(?:words?|phrases?|terms?|keywords?)"
_LIST = r'(?P<list>"#\d+"(?:(?:, | or | and |, or |, and |/)"#\d+")*)'
_BARE = (
    r"(?P<bare>[a-z]+(?:(?:, | or | and |, or |, and )[a-z]+)*)(?= ?(?:[.!;]|$|in (?:your|the|any)|"
    r"at all|anywhere|completely))"
)
_SUBJECT = (
    r"(?:your|the|my|each|every) (?:whole |entire |final )*(?:answers?|repl(?:y|ies)|responses?|"
    r"outputs?|messages?)"
)
_NOT = (
    r"(?:(?:do not|don't|never|you (?:must|should|may|can) (?:not|never)|you (?:can't|cannot|mustn't|"
    r"shouldn't)|"
    r"please avoid|avoid|without|refrain from|stop|(?:must|should|may|can) not|cannot)"
    r"(?: ever| to| please)? ?(?:use|using|say|saying|write|writing|include|including|mention|mentioning|"
    r"contain|containing|output|utter)?|exclude|leave out|omit)"
)
_WHERE = r"(?: (?:in|anywhere in) " + _SUBJECT + r")?"
_HAVE = r"\b(?:include|use|mention|contain|incorporate|say|write)s?"


def _words(match: re.Match[str], sentence: Masked) -> tuple[str, ...]:
    groups = match.groupdict()
    if groups.get("list"):
        return tuple(sentence.quoted(number).strip() for number in re.findall(r"#(\d+)", groups["list"]))
    return tuple(word for word in re.split(r", or |, and |, | or | and ", groups["bare"]) if word)


def _forbidden(match: re.Match[str], sentence: Masked) -> Constraint | None:
    words = _words(match, sentence)
    return ForbiddenWords(words) if words and all(any(c.isalnum() for c in w) for w in words) else None


def _required(match: re.Match[str], sentence: Masked) -> Constraint | None:
    before = sentence.text[: match.start()]
    if (
        re.search(r"\b(?:not|n't|never|without|avoid|no|instead|stop)\b|n't\b", before)
        or " or " in sentence.text
    ):
        return None
    return RequiredWords(_words(match, sentence))


# "the word X at least three times" counts, and is another constraint.
_NOT_COUNTED = r"(?!.*\b(?:times|once|twice)\b)"

READERS = (
    pattern_reader(
        (
            (
                rf"\b{_NOT} ?(?:any of )?(?:the |these |this )?{_WORD}:? {_LIST}{_NOT_COUNTED}{_WHERE}",
                _forbidden,
            ),
            (rf"\b{_NOT} ?(?:the |these |this )?{_WORD}:? {_BARE}{_NOT_COUNTED}{_WHERE}", _forbidden),
            (
                rf"\b{_NOT} (?:the )?{_LIST}{_NOT_COUNTED}{_WHERE}(?= ?(?:[.!;]|$|at all|anymore|again))",
                _forbidden,
            ),
            (rf"{_HAVE} (?:the |these |this |both )*{_WORD}:? {_LIST}{_NOT_COUNTED}", _required),
            (rf"{_HAVE} (?:the |these |this )+{_WORD}:? {_BARE}{_NOT_COUNTED}", _required),
        )
    ),
)
