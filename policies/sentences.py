"""Cut text into sentences that keep their place, so that one can be taken out again.

Small on purpose: it knows quotes, brackets and braces, abbreviations, decimals and list marks, and
leaves fenced code alone. It is no linguist, and errs towards too long a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set: how word lists are written here."""
    return frozenset(text.split())


ABBREVIATIONS = word_set(
    """
    mr mrs ms dr prof sr jr st vs etc e.g i.e eg ie cf approx dept est fig no inc ltd co u.s u.k a.m
    p.m
    """
)
_CLOSERS = "\"'”’)]}»`*_"
_OPEN_TO_CLOSE = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»"}
_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.M | re.S)
_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•+]|\d{1,3}[.)])[ \t]+|^[ \t]*#{1,6}[ \t]+|^[ \t]*>[ \t]?")
_SPANNED = 400  # an opening bracket that is not closed within so many characters does not bind
_WRAPPED = 50  # a line that was wrapped by hand is at least so long


@dataclass(frozen=True)
class Sentence:
    """One sentence and its place: `text` is `source[start:end]` without outer white space."""

    text: str
    start: int
    end: int
    heading: bool = False


def split_sentences(text: str) -> list[Sentence]:
    """Return the sentences of prose and of list items in order; fenced code has none."""
    found: list[Sentence] = []
    at = 0
    for fence in _FENCE.finditer(text):
        found += _lines(text, at, fence.start())
        at = fence.end()
    return found + _lines(text, at, len(text))


def first_sentences(text: str, count: int) -> str:
    """Return the first `count` sentences as one line of text (all of it where there are fewer)."""
    return " ".join(" ".join(sentence.text.split()) for sentence in split_sentences(text)[:count])


def take_out(text: str, sentences: list[Sentence]) -> str:
    """Return the text without these sentences of it, and without the gaps and list marks they leave."""
    for sentence in sorted(sentences, key=lambda s: s.start, reverse=True):
        head, tail = text[: sentence.start], text[sentence.end :]
        line_start = head.rfind("\n") + 1
        mark = _LIST_MARK.match(head[line_start:])
        if mark and mark.end() == len(head) - line_start and (not tail or tail[0] == "\n"):
            head = head[:line_start]
        text = _join(head, tail)
    return text.strip()


def _join(head: str, tail: str) -> str:
    if not head.strip() or not tail.strip():
        return head.rstrip() + tail.lstrip()
    if tail.startswith("\n") or head.endswith("\n"):
        return head.rstrip(" \t\n") + tail if tail.startswith("\n") else head + tail.lstrip()
    return head.rstrip() + " " + tail.lstrip(" \t")


def _lines(text: str, start: int, end: int) -> list[Sentence]:
    """Split one stretch. A line ends a sentence, unless it is long and the next goes on in lower case."""
    found: list[Sentence] = []
    at = start
    while at < end:
        if text[at] == "\n":
            at += 1
            continue
        stop = _line_end(text, at, end)
        while stop < end and _is_wrapped(text[at:stop], text[stop + 1 : _line_end(text, stop + 1, end)]):
            stop = _line_end(text, stop + 1, end)
        line = text[at:stop]
        mark = _LIST_MARK.match(line)
        found += _prose(text, at + (mark.end() if mark else 0), stop, heading=line.lstrip().startswith("#"))
        at = stop + 1
    return found


def _line_end(text: str, at: int, end: int) -> int:
    stop = text.find("\n", at, end)
    return end if stop < 0 else stop


def _is_wrapped(line: str, following: str) -> bool:
    last = line[line.rfind("\n") + 1 :].rstrip()
    return len(last) >= _WRAPPED and last[-1] not in ".!?:;" and following.lstrip()[:1].islower()


def _prose(text: str, start: int, end: int, heading: bool) -> list[Sentence]:
    found: list[Sentence] = []
    begin = at = start
    while at < end:
        character = text[at]
        if character in _OPEN_TO_CLOSE or (character == '"' and _opens(text, at)):
            at = _closing(text, at, end)
            if character in '"“«' and text[at - 2 : at - 1] in ".!?" and _starts_anew(text, at, end):
                found += _sentence(text, begin, at, heading)
                begin = at
            continue
        if character in ".!?…":
            stop = at + 1
            while stop < end and text[stop] in ".!?…":
                stop += 1
            while stop < end and text[stop] in _CLOSERS:
                stop += 1
            if _ends(text, begin, at, stop, end):
                found += _sentence(text, begin, stop, heading)
                begin = stop
            at = stop
            continue
        at += 1
    return found + _sentence(text, begin, end, heading)


def _sentence(text: str, start: int, end: int, heading: bool) -> list[Sentence]:
    piece = text[start:end]
    stripped = piece.strip()
    if not any(c.isalnum() for c in stripped):
        return []
    begin = start + len(piece) - len(piece.lstrip())
    return [Sentence(stripped, begin, begin + len(stripped), heading)]


def _opens(text: str, at: int) -> bool:
    return at == 0 or not text[at - 1].isalnum()


def _closing(text: str, at: int, end: int) -> int:
    """Return the place after the mark that closes the one at `at`, or after `at` when it is never closed."""
    opener = text[at]
    closer = _OPEN_TO_CLOSE.get(opener, opener)
    if text.find(closer, at + 1, min(end, at + _SPANNED)) < 0:
        return at + 1
    depth = 1
    for place in range(at + 1, min(end, at + _SPANNED)):
        if text[place] == closer:
            depth -= 1
            if depth == 0:
                return place + 1
        elif text[place] == opener:
            depth += 1
    return at + 1


def _starts_anew(text: str, at: int, end: int) -> bool:
    """Say whether a new sentence starts at `at`: the end, or white space and then no lower-case letter."""
    place = at
    while place < end and text[place].isspace():
        place += 1
    return place == end or (place > at and not text[place].islower())


def _number_follows(text: str, at: int, end: int) -> bool:
    return text[at : min(end, at + 8)].lstrip()[:1].isdigit()


def _ends(text: str, begin: int, at: int, stop: int, end: int) -> bool:
    """Say whether the mark at `at` (with what closes it up to `stop`) ends a sentence."""
    if stop < end and not text[stop].isspace():
        return False
    if text[at] != ".":
        return _starts_anew(text, stop, end) or text[at] == "?"
    words = text[max(begin, at - 16) : at].split()  # enough for an abbreviation
    word = words[-1].strip("(\"'[").lower() if words else ""
    if word == "no" and not _number_follows(text, stop, end):
        return True  # the answer, not the number
    if word in ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i" and len(words) > 1):
        return stop >= end
    # Lower-case answers have sentences too: only an ellipsis needs a capital after it.
    return not text[at:stop].startswith("..") or _starts_anew(text, stop, end)
