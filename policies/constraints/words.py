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
    prohibits: ClassVar[bool] = True

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


_WORD = r"(?:exact |following |actual |specific )*(?:key ?words?|words?|phrases?|terms?)"
_LIST = r'(?P<list>\[?"#\d+"(?:(?:, ?(?:and |or )?| or | and | nor | & |/)"#\d+")*\]?)'
_BARE_WORD = (
    r"(?!in\b|of\b|that\b|for\b|to\b|from\b|with\b|(?:limit|counts?|processor|list|document|file|cloud|"
    r"order|choice|game)\b)[a-z][a-z-]*"
)
_BARE = (
    rf"(?P<bare>{_BARE_WORD}(?:(?:, | or | and |, or |, and ){_BARE_WORD})*)(?= ?(?:[.!;]|$|in (?:your|the|"
    rf"any)|at all|anywhere|completely|throughout|must|should|cannot|can|may))"
)
_SUBJECT = (
    r"(?:your|the|my|each|every|this) (?:whole |entire |final )*(?:answers?|repl(?:y|ies)|responses?|"
    r"outputs?|messages?|[a-z]+)"
)
_NOT = (
    r"(?:(?:do not|don't|never|you (?:must|should|may|can) (?:not|never)|you (?:can't|cannot|mustn't|"
    r"shouldn't)|not allowed to|"
    r"please avoid|avoid|without|refrain from|stop|(?:must|should|may|can) not|cannot)"
    r"(?: ever| to| please)? ?(?:use|using|say|saying|write|writing|include|including|mention|mentioning|"
    r"contain|containing|output|utter|the use of|any mention of)?|exclude|leave out|omit)"
)
_WHERE = r"(?:,? (?:in|anywhere in|throughout|within) " + _SUBJECT + r")?"
_HAVE = r"\b(?:include|use|mention|contain|incorporate|say|write|including|using|containing|have|has)s?"
_THE = r"(?:any of |either of )?(?:the |these |this |both |all )*"
_APPEAR = r"(?:appear|occur|be (?:used|included|mentioned|present|in)|show up)"


def _words(match: re.Match[str], sentence: Masked) -> tuple[str, ...]:
    groups = match.groupdict()
    if groups.get("list"):
        return tuple(sentence.quoted(number).strip() for number in re.findall(r"#(\d+)", groups["list"]))
    words = re.split(r", or |, and |, | or | and ", sentence.as_written(*match.span("bare")))
    return tuple(word for word in words if word)


_IN_A_PART = re.compile(
    r"\b(?:in|of) (?:the |your |any |each )?(?:(?:first|second|third|last|next|opening|final) \w+|"
    r"title|heading|subject|name)\b"
)


_SAYING = re.compile(
    r"\b(?:us(?:e|ing)|sa(?:y|ying)|writ\w+|includ\w+|mention\w*|contain\w*|output\w*|utter\w*)\b"
)
_A_COMMAND = re.compile(
    r"(?:git|npm|npx|yarn|pnpm|pip|rm|sudo|docker|make|cargo|python3?|curl|sed|chmod)\b|.* --?\w|.*[/_=]"
)


def _unsaid(match: re.Match[str], sentence: Masked) -> Constraint | None:
    """Read "do not say X" where nothing calls X a word: the verb must, and X must be no command or path."""
    if not _SAYING.search(match.group()) or any(_A_COMMAND.match(word) for word in _words(match, sentence)):
        return None
    return _forbidden(match, sentence)


def _forbidden(match: re.Match[str], sentence: Masked) -> Constraint | None:
    words = _words(match, sentence)
    if _IN_A_PART.search(sentence.text, match.start(), match.end() + 40):
        return None
    return ForbiddenWords(words) if words and all(any(c.isalnum() for c in w) for w in words) else None


def _required(match: re.Match[str], sentence: Masked) -> Constraint | None:
    """Read a demand for words; not where it is denied, where there is a choice, or of a part."""
    clause = sentence.clause(*match.span())
    before = clause[: clause.find(match.group())]
    if re.search(
        r"\b(?:not|never|without|avoid\w*|no|nobody|no one|none|instead|stop\w*|each|every|title|heading)\b|"
        r"n't\b",
        before,
    ):
        return None
    if " or " in clause or re.search(r"\b(?:each|every)\b", sentence.text[match.end() : match.end() + 30]):
        return None
    return RequiredWords(_words(match, sentence))


# "the word X at least three times" counts, and is another constraint.
_NOT_COUNTED = r"(?!.{0,40}\b(?:times|once|twice)\b)"

READERS = (
    pattern_reader(
        '"# word phrase term',
        (
            (rf"\b{_NOT} ?{_THE}{_WORD}:? {_LIST}{_NOT_COUNTED}{_WHERE}", _forbidden),
            (rf"\b{_NOT} ?{_THE}{_WORD}:? {_BARE}{_NOT_COUNTED}{_WHERE}", _forbidden),
            (
                rf"\b{_NOT} (?:the )?{_LIST}{_NOT_COUNTED}{_WHERE}(?= ?(?:[.!;,–-]|$|at all|anymore|again))",
                _unsaid,
            ),
            (
                rf"\b{_THE}{_WORD}:? (?:{_LIST}|{_BARE}) (?:(?:should|must|may|can|do|does) ?(?:not|never)|"
                rf"cannot|shouldn't|mustn't|can't) {_APPEAR}{_WHERE}",
                _forbidden,
            ),
            (
                rf"\b{_THE}{_WORD}:? (?:{_LIST}|{_BARE}) (?:is|are) (?:not (?:allowed|permitted)|forbidden|"
                rf"banned|off-limits)",
                _forbidden,
            ),
            (rf"{_HAVE} {_THE}{_WORD}:? {_LIST}{_NOT_COUNTED}{_WHERE}", _required),
            (rf"{_HAVE} (?:the |these |this )+{_WORD}:? {_BARE}{_NOT_COUNTED}{_WHERE}", _required),
            (
                rf"\b{_THE}{_WORD}:? {_LIST} (?:should|must|has to|have to|"
                rf"needs? to) {_APPEAR}{_NOT_COUNTED}{_WHERE}",
                _required,
            ),
        ),
    ),
)
