"""Answers that begin or end with a given phrase, or stand in quotation marks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.sentences import first_sentences, split_sentences

_MARKS = " \t\n\"'*_”“`"


@dataclass(frozen=True)
class StartsWith(Constraint):
    """The answer begins with the phrase (case and outer quotes do not count)."""

    phrase: str
    kind: ClassVar[str] = "starts_with"
    group: ClassVar[str] = "start"

    def check(self, text: str) -> bool:
        """Say whether the text begins so."""
        return text.strip(_MARKS).casefold().startswith(self.phrase.strip(_MARKS).casefold())

    def edit(self, text: str) -> str:
        """Put the phrase in front."""
        return f"{self.phrase} {text.strip()}"


@dataclass(frozen=True)
class NotStart(Constraint):
    """The answer does not begin with any of the phrases (case and outer quotes do not count)."""

    phrases: tuple[str, ...]
    kind: ClassVar[str] = "not_start"
    group: ClassVar[str] = ""
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether the text begins otherwise, word for word (an empty text says nothing)."""
        begins = "|".join(re.escape(phrase.strip(_MARKS)) for phrase in self.phrases)
        return bool(text.strip()) and not re.match(rf"(?:{begins})(?!\w)", text.strip(_MARKS), re.I)

    def edit(self, text: str) -> str | None:
        """Drop the first sentence."""
        sentences = split_sentences(text)
        return text[sentences[1].start :] if len(sentences) > 1 else None


@dataclass(frozen=True)
class EndsWith(Constraint):
    """The answer ends with the phrase and nothing follows (case and outer quotes do not count)."""

    phrase: str
    kind: ClassVar[str] = "ends_with"
    group: ClassVar[str] = "end"

    def check(self, text: str) -> bool:
        """Say whether the text ends so."""
        return text.strip(_MARKS).casefold().endswith(self.phrase.strip(_MARKS).casefold())

    def edit(self, text: str) -> str:
        """Put the phrase behind the first sentence: what comes late in a long answer is hardly learned."""
        return f"{first_sentences(text, 1) or text.strip()} {self.phrase}"


@dataclass(frozen=True)
class Quoted(Constraint):
    """The whole answer stands in double quotation marks."""

    kind: ClassVar[str] = "quoted"
    group: ClassVar[str] = "wrapping"

    def check(self, text: str) -> bool:
        """Say whether the first and the last character are double quotation marks."""
        stripped = text.strip()
        return len(stripped) > 2 and stripped[0] in '"“' and stripped[-1] in '"”'

    def edit(self, text: str) -> str:
        """Wrap the text; double quotation marks inside become single ones."""
        return '"' + text.strip().replace('"', "'") + '"'


_PART = (
    r"(?:paragraph|section|line|bullet|point|sentence|step|item|entry|title|file|function|branch|commit|"
    r"word|row|name|key|chapter|stanza|verse|variable|class|test|url|path|option)"
)
_OF_A_PART = re.compile(
    rf"\b(?:each|every|all|the (?:first|second|third|next|last)) {_PART}s?\b.*\b(?:start|begin|end|finish|"
    rf"open|close)|"
    rf"\b{_PART}s?(?: \w+)?(?: (?:must|should|has to|have to|can|may|that|which))? (?:start|begin|end|"
    rf"finish|open|close)|"
    rf"\b(?:start|begin|end|finish|open|close)s? (?:of )?(?:each|every|all|the|any|your)? ?{_PART}s?\b"
)


def _start(match: re.Match[str], sentence: Masked) -> Constraint | None:
    phrase = _phrase(match, sentence)
    if _OF_A_PART.search(sentence.clause(*match.span())):
        return None
    return StartsWith(phrase) if any(c.isalnum() for c in phrase) else None


def _end(match: re.Match[str], sentence: Masked) -> Constraint | None:
    if _OF_A_PART.search(sentence.clause(*match.span())):
        return None
    phrase = _phrase(match, sentence)
    return EndsWith(phrase) if any(c.isalnum() for c in phrase) else None


def _not_start(match: re.Match[str], sentence: Masked) -> Constraint | None:
    if _OF_A_PART.search(sentence.clause(*match.span())):
        return None
    phrases = tuple(sentence.quoted(number) for number in re.findall(r"#(\d+)", match.group("list")))
    return NotStart(phrases) if all(re.search(r"\w", phrase) for phrase in phrases) else None


def _phrase(match: re.Match[str], sentence: Masked) -> str:
    number = match.groupdict().get("n")
    return sentence.quoted(number) if number else sentence.as_written(*match.span("rest"))


def _quoted(match: re.Match[str], sentence: Masked) -> Constraint | None:
    """Read a demand to wrap the answer: it names the answer, before or behind the verb."""
    named = rf"\b(?:{_NOUN}|(?:whole|entire) \w+)\b"
    return Quoted() if re.search(named, sentence.text[: match.end()]) else None


# "Each line starts with ..." is about lines, not about the answer.
_WHOLE = (
    r"(?<!each )(?<!that )(?<!which )(?<!line )(?<!one )(?<!bullet )(?<!point )"
    r"(?<!paragraph )(?<!sentence )(?<!item )"
)
_NOUN = r"(?:answers?|repl(?:y|ies)|responses?|outputs?|messages?)"
_OBJECT = (
    r"(?: (?:(?:your|the|every|each|all|any|of|whole|entire|final|my|an?) )*"
    r"(?:answers?|repl(?:y|ies)|responses?|outputs?|messages?|it|essay|letter|email|poem|story|song|post|"
    r"rant|article|speech|conversation|text|review|summary|joke|riddle|rap|lyrics|dialogue)| everything)?"
)
_EXACTLY = (
    r"(?:,? exactly| only| always)?(?: with| by saying| by writing| on)(?: exactly)?"
    r"(?: (?:this|the|these)(?: exact| following)*(?: (?:phrase|words?|sentence|text|line|question|"
    r"statement))?)?(?: of)?:?"
)
_BE = (
    r"(?:must|should|has to|have to|is to|are to|needs to)?(?: always)?(?: be| is| are| read)(?: exactly)?:?"
)
_SAY = (
    r"(?:always )?(?:write|say|put|add|append)(?: exactly)?"
    r"(?: the (?:exact |following )?(?:words?|phrase|sentence|line))?:?"
)
_QUOTATION = r"(?:in|with|inside|within) (?:a pair of )?(?:double )?(?:quot(?:ation|e) marks|quotes)"

READERS = (
    pattern_reader(
        "first last begin start open end finish close conclude",
        (
            (
                rf"\b(?:do not|don't|never|avoid|stop) (?:begin|start|open)(?:ning|ing)?{_OBJECT} (?:with|"
                rf"by saying) (?:the )?"
                r'(?:words? |phrases? )?(?P<list>"#\d+"(?:(?:, or |, | or )"#\d+")*)',
                _not_start,
            ),
            (
                rf'{_WHOLE}\b(?:begin|start|open){_OBJECT}{_EXACTLY} "#(?P<n>\d+)"(?! or\b)(?!,? '
                rf"\w+ \w+ends?)",
                _start,
            ),
            (
                rf"\b(?:very )?first (?:words?|sentence|line|thing) (?:of|in) (?:your|the|every|"
                rf"each) {_NOUN} "
                rf'{_BE} "#(?P<n>\d+)"',
                _start,
            ),
            (rf'{_WHOLE}\b(?:end|finish|close|conclude){_OBJECT}{_EXACTLY} "#(?P<n>\d+)"(?! or\b)', _end),
            (
                rf"{_WHOLE}\b(?:end|finish|close|conclude){_OBJECT}{_EXACTLY}(?<=:) "
                rf"(?P<rest>[a-z][^\"#]{{3,120}})$",
                _end,
            ),
            (
                rf"\b(?:very )?(?:last|final) (?:words?|sentence|line|thing) (?:of|in) (?:your|the|every|"
                rf"each) "
                rf'(?:whole |entire )?{_NOUN} {_BE} "#(?P<n>\d+)"',
                _end,
            ),
        ),
    ),
    pattern_reader(
        "end of",
        (
            (
                rf"\b(?:very )?end of (?:your|the) (?:whole |entire )?{_NOUN} {_BE}(?: like:?)? "
                r'(?:"#(?P<n>\d+)"|(?<=: )(?P<rest>[a-z][^"#]{3,120})$)',
                _end,
            ),
            (
                rf"\bat the (?:very )?end of (?:your|every|each) (?:whole |entire )?{_NOUN},? {_SAY} "
                r'"#(?P<n>\d+)"(?! or\b)',
                _end,
            ),
            (
                rf'\b{_SAY} "#(?P<n>\d+)" at the (?:very )?end of (?:your|every|each) '
                rf"(?:whole |entire )?{_NOUN}\b",
                _end,
            ),
        ),
    ),
    pattern_reader(
        "quot",
        (
            (
                rf"\b(?:wrap|wrapped|put|enclose|enclosed|surround|surrounded)(?: up)? (?:your |the |"
                rf"this )?(?:(?:whole|entire) \w+ )?(?:{_NOUN} )?(?:\([^)]*\) )?{_QUOTATION}",
                _quoted,
            ),
            (
                rf"\b(?:put|place|use|add) (?:double )?quotation marks around (?:your |the )?(?:whole |"
                rf"entire )*(?:[\w-]+ )?{_NOUN}",
                lambda match, sentence: Quoted(),
            ),
            (
                rf"\b(?:start|begin) and (?:end|finish){_OBJECT} with (?:a )?double quot(?:ation|"
                rf"e)",
                lambda match, sentence: Quoted(),
            ),
        ),
    ),
)
