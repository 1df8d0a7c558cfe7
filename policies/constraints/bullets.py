"""Bullet lists: so many, nothing else, or none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.constraints.counting import NUMBER, whole_number
from policies.sentences import split_sentences

_BULLET = re.compile(r"^\s*(?:[-•+]\s+|\*(?!\*)\s*)(?=\S)")
_PARTS = re.compile(r"[.,;:!?]+\s+|\s(?=(?:and|which|that|to|by|for|with|because|so|but|while) )")


@dataclass(frozen=True)
class Bullets(Constraint):
    """Exactly `count` bullet lines (any number where None); with `only`, no line that is none."""

    count: int | None
    only: bool
    kind: ClassVar[str] = "bullets"
    group: ClassVar[str] = "shape"

    def check(self, text: str) -> bool:
        """Count the lines that begin with a bullet mark."""
        lines = [line for line in text.split("\n") if line.strip()]
        bullets = sum(1 for line in lines if _BULLET.match(line))
        return bullets == (self.count or bullets) and bullets > 0 and not (self.only and bullets < len(lines))

    def implies(self, other: Constraint) -> bool:
        """So many bullets are bullets; nothing else is more than that they are there."""
        if not isinstance(other, Bullets):
            return False
        return other.count in {None, self.count} and (self.only or not other.only)

    def edit(self, text: str) -> str | None:
        """Keep the first bullets there are; else cut the text into so many parts of two words or more."""
        count = self.count or max(1, min(3, len(split_sentences(text))))
        parts = [_BULLET.sub("", line).strip() for line in text.split("\n") if _BULLET.match(line)]
        if len(parts) < count:
            parts = _cut(text, count)
        if len(parts) < count:
            return None
        return "\n".join(f"- {part[0].upper()}{part[1:]}" for part in parts[:count])


@dataclass(frozen=True)
class NoBullets(Constraint):
    """No line begins with a bullet mark or a number."""

    kind: ClassVar[str] = "no_bullets"
    group: ClassVar[str] = "shape"
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether no line is a list item (an empty text says nothing)."""
        return bool(text.strip()) and not any(
            _BULLET.match(line) or re.match(r"\s*\d{1,2}[.)]\s", line) for line in text.split("\n")
        )

    def edit(self, text: str) -> str:
        """Write the items as running text."""
        items = [
            re.sub(r"^\s*\d{1,2}[.)]\s+", "", _BULLET.sub("", line)).strip() for line in text.split("\n")
        ]
        return " ".join(item if item[-1] in ".!?:;," else item + "." for item in items if item)


def _cut(text: str, count: int) -> list[str]:
    flat = " ".join(_BULLET.sub("", line).strip() for line in text.split("\n"))
    parts = [part.strip(" .,;:!?*#-") for part in _PARTS.split(flat)]
    parts = [part for part in parts if len(part.split()) >= 2]
    if len(parts) >= count:
        return parts[:count]
    words = flat.split()
    size = len(words) // count
    if size < 2:
        return []
    parts = [" ".join(words[at * size : (at + 1) * size]).strip(" .,;:!?*#-") for at in range(count)]
    return [part for part in parts if part]


def _read(match: re.Match[str], sentence: Masked) -> Constraint | None:
    if match.group("n") in {"a", "an"}:
        return None
    only = (
        r"nothing else|\bonly\b|must be a list|whole|entire|\beach (?:line )?(?:start|begin)|\bjust\b|"
        r"no other text"
    )
    return Bullets(whole_number(match.group("n")), only=re.search(only, sentence.text) is not None)


def _starts(match: re.Match[str], sentence: Masked) -> Constraint | None:
    mark = sentence.quoted(match.group("n")).strip()
    return Bullets(None, only=True) if mark in {"-", "*", "•"} else None


def _is_vague(match: re.Match[str], sentence: Masked) -> bool:
    """Say whether the number is a bound or a guess, not a count."""
    return (
        _BEFORE.search(sentence.text[: match.start()]) is not None
        or _BEHIND.match(sentence.text, match.end()) is not None
    )


_POINTS = (
    r"(?:markdown |very |short |concise |brief |main |key )*(?:bullets?(?: ?-?points?)?|bulleted (?:points|"
    r"items|lines))"
)

_BEFORE = re.compile(
    rf"\b(?:at least|at most|about|around|up to|minimum(?: of)?|maximum(?: of)?|more than|(?:fewer|"
    rf"less) than|over|under|{NUMBER} ?(?:to|or|-)|between {NUMBER} and) ?$|-$"
)
_BEHIND = re.compile(r",? (?:or (?:more|fewer|less)|at (?:least|most)|minimum|maximum|max)\b")

READERS = (
    pattern_reader(
        "bullet list point start begin",
        (
            (
                r"\bno (?:bullet ?-?points?|bullets|bullet(?:ed)? lists?|lists)\b"
                r"|\b(?:do not|don't|never|avoid) (?:use |using |write )?(?:any )?(?:bullet ?-?points?|"
                r"bullets|bullet(?:ed)? lists?)\b"
                r"|\bwithout (?:any |using )?(?:bullet ?-?points?|bullets|bullet(?:ed)? lists?)\b",
                lambda match, sentence: NoBullets(),
            ),
            (
                # The line about the mark belongs to the count, and is swallowed with it.
                rf"\b(?:exactly |only |just )?(?P<n>{NUMBER}) {_POINTS}(?: and nothing else)?"
                r"(?:,? ?(?:each|that|which|all)? ?(?:line )?(?:starting|start|beginning|"
                r'begin)s? with (?:a )?"#\d+")?',
                lambda match, sentence: None if _is_vague(match, sentence) else _read(match, sentence),
            ),
            (
                rf"\b(?:must|should|has to) be a list of (?:exactly )?(?P<n>{NUMBER}) (?:lines|items|"
                rf"bullets),? "
                r'(?:each|all|that|which) ?(?:line )?(?:starting|start|beginning|begin)s? with (?:a )?"#\d+"',
                _read,
            ),
            (
                r"\b(?:only (?:use |in |with )?bullet ?-?points?|(?:in|as|use|using) (?:only )?(?:a )?"
                r"(?:bullet ?-?points?|bulleted lists?|bullet lists?|bullets))\b(?: only)?",
                lambda match, sentence: Bullets(None, only="only" in match.group()),
            ),
            (
                r"\b(?:start|begin) (?:each|every|all)(?: line| lines| one| bullet|"
                r' point)?(?: of your \w+)? with (?:a )?"#(?P<n>\d+)"',
                _starts,
            ),
        ),
    ),
)
