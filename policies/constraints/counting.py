"""Counts: how people say "at least three", and demands on how many of something there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from policies.constraints.constraint import Build, Constraint, Masked

_NUMBERS = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
NUMBER = r"(?:\d{1,5}|a single|a|an|single|(?:" + "|".join(_NUMBERS) + r")\b)"
"""A count as people write it; for `whole_number`."""

Limits = tuple[int | None, int | None]
"""(minimum, maximum) of a count; a side that is None is open."""
Bounded = Callable[[int | None, int | None, re.Match[str], Masked], Constraint | None]


def whole_number(text: str) -> int:
    """Read a count: digits or a word (`a` and `single` are one)."""
    if text.isdigit():
        return int(text)
    return _NUMBERS.index(text) + 1 if text in _NUMBERS else 1


@dataclass(frozen=True)
class Range(Constraint):
    """A count between `minimum` and `maximum`; a side that is None is open."""

    minimum: int | None
    maximum: int | None

    def count(self, text: str) -> int:
        """Count the unit in the text."""
        raise NotImplementedError

    def check(self, text: str) -> bool | None:
        """Say whether the count lies in the range (an empty text never does)."""
        return bool(text.strip()) and self.within(self.count(text))

    def within(self, count: int) -> bool:
        """Say whether a count lies in the range."""
        return count >= (self.minimum or 0) and (self.maximum is None or count <= self.maximum)

    def implies(self, other: Constraint) -> bool:
        """A narrower range of the same kind keeps a wider one."""
        if not isinstance(other, Range) or self.kind != other.kind or self.subject != other.subject:
            return False
        low = other.minimum is None or (self.minimum or 0) >= other.minimum
        return low and (other.maximum is None or (self.maximum is not None and self.maximum <= other.maximum))

    @property
    def subject(self) -> str:
        """Return what is counted, where the kind alone does not say it."""
        return ""


_GUESS = re.compile(r"(?:\b(?:about|around|roughly|approximately|some|perhaps|maybe|say) |~ ?)$")
_FROM_UNIT_ON = r"(?: long| in length| in total)?"


def count_patterns(unit: str, build: Bounded, lead: str = "") -> tuple[tuple[str, Build], ...]:
    """Return patterns for every way to bound the number of `unit` (a regular expression).

    "Five words" without a bound is left out: it may be a guess. `lead` is what must stand before the count.
    """
    n, m = rf"(?P<n>{NUMBER})", rf"(?P<m>{NUMBER})"
    tail = rf"[ -](?:or so )?{unit}{_FROM_UNIT_ON}"
    of = r"(?: of| a total of)?"

    def limits(low: int | None, high: int | None) -> Build:
        """Build from the number(s) with `low` and `high` added; None leaves the side open."""

        def read(match: re.Match[str], sentence: Masked) -> Constraint | None:
            if _GUESS.search(sentence.text[: match.start()]):
                return None
            first = whole_number(match.group("n"))
            second = whole_number(match.group("m")) if "m" in match.re.groupindex else first
            if second < first:
                return None
            return build(
                None if low is None else first + low, None if high is None else second + high, match, sentence
            )

        return read

    not_more = (
        r"(?:at most|no more than|not more than|no longer than|not longer than|up to|maximum|max\.?|"
        r"a maximum|within|(?:not|cannot|can't|shouldn't|mustn't) be (?:any )?(?:longer|more) than|"
        r"(?:do not|don't|never|not) (?:exceed|use more than|write more than|go over|"
        r"exceeding)|not exceeding|limit\w* (?:\w+ ){0,4}to|capped at|cap \w+ at)"
    )
    not_less = r"(?:at least|no fewer than|(?:not|no) less than|(?:a )?minimum|at a minimum)"
    number_is = rf"(?:total )?number of (?:\w+ )?{unit}(?: [a-z]+){{0,4}}? (?:should|must|has to|needs to) be"
    table = (
        (rf"{not_more}{of} {n}{tail}", limits(None, 0)),
        (rf"{not_less}{of} {n}{tail}", limits(0, None)),
        (rf"between {n} (?:and|to) {m}{tail}", limits(0, 0)),
        (rf"(?:from )?{n}(?: to |-| - | – |–){m}{tail}", limits(0, 0)),
        (rf"(?:fewer|less) than{of} {n}{tail}", limits(None, -1)),
        (rf"(?:under|below){of} {n}{tail}", limits(None, -1)),
        (rf"(?:more than|over){of} {n}{tail}", limits(1, None)),
        (rf"{n} or (?:fewer|less){tail}", limits(None, 0)),
        (rf"{n} or more{tail}", limits(0, None)),
        (rf"{n}\+{tail}", limits(0, None)),
        (rf"{n}{tail},? (?:or (?:fewer|less)|at most|max(?:imum)?\b|tops|or under)", limits(None, 0)),
        (rf"{n}{tail},? (?:or (?:more|longer)|at least|minimum)", limits(0, None)),
        (rf"(?:exactly|precisely){of} {n}{tail}", limits(0, 0)),
        (rf"{number_is} {n} or more", limits(0, None)),
        (rf"{number_is} {n} or (?:fewer|less)", limits(None, 0)),
        (rf"{number_is} (?:at most|no more than|not more than) {n}\b", limits(None, 0)),
        (rf"{number_is} (?:at least|no less than|not less than) {n}\b", limits(0, None)),
        (rf"{number_is} (?:less|fewer|lower|smaller) than {n}\b", limits(None, -1)),
        (rf"{number_is} (?:more|greater|higher|larger) than {n}\b", limits(1, None)),
    )  # fmt: skip
    return tuple((rf"(?<![\w-]){lead}{pattern}", read) for pattern, read in table)


_TIME = r"(?:(?P<once>once|twice)|(?P<times>" + NUMBER + r") times?)"
TIMES = (
    rf"(?P<bound>at least|at most|no more than|not more than|(?:less|fewer) than|more than|exactly|"
    rf"a (?:minimum|maximum) of|up to)?(?: a total of)? ?{_TIME}(?P<open> or (?:more|less|fewer))?"
)
"""How often something is to occur; for `times`."""
_BOUNDS: dict[str, tuple[int | None, int | None]] = {
    "at least": (0, None), "a minimum of": (0, None), "more than": (1, None), "or more": (0, None),
    "at most": (None, 0), "no more than": (None, 0), "not more than": (None, 0), "up to": (None, 0),
    "a maximum of": (None, 0), "less than": (None, -1), "fewer than": (None, -1), "or less": (None, 0),
    "or fewer": (None, 0), "exactly": (0, 0),
}  # fmt: skip


def times(match: re.Match[str]) -> Limits | None:
    """Return the limits that a match of `TIMES` sets; None where it sets none ("three times")."""
    once = match.group("once")
    number = 1 + (once == "twice") if once else whole_number(match.group("times"))
    bound = _BOUNDS.get((match.group("bound") or match.group("open") or "").strip())
    if bound is None:
        return None
    low, high = bound
    return None if low is None else number + low, None if high is None else number + high
