"""How numbers are written: as digits, in words, with so many decimals, or nothing but one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.constraints.counting import NUMBER, whole_number

_DECIMAL = re.compile(r"(?<![\w.])[-+]?\d[\d,]*\.(\d+)(?![\w.]*\d)")
_BARE_NUMBER = re.compile(r"\W{0,3}[-+−]?(?:\d[\d,' ]*)?\d(?:\.\d+)?(?:e[-+]?\d+)?\s?[%€$£]?\W{0,2}")


@dataclass(frozen=True)
class NumberOnly(Constraint):
    """The whole answer is one number."""

    kind: ClassVar[str] = "number_only"
    group: ClassVar[str] = "shape"

    def check(self, text: str) -> bool:
        """Say whether nothing but a number stands there."""
        return _BARE_NUMBER.fullmatch(text.strip()) is not None

    def edit(self, text: str) -> str | None:
        """Keep the number, where there is only one."""
        found = re.findall(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?!\w)", text)
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Decimals(Constraint):
    """Every number with a decimal point has so many decimals."""

    places: int
    kind: ClassVar[str] = "decimals"
    group: ClassVar[str] = "decimals"
    confidence: ClassVar[float] = 0.9

    def check(self, text: str) -> bool | None:
        """Compare the decimals; None where no number has any."""
        found = _DECIMAL.findall(text)
        return all(len(decimals) == self.places for decimals in found) if found else None


@dataclass(frozen=True)
class NoDigits(Constraint):
    """No digit occurs: numbers are spelt out."""

    kind: ClassVar[str] = "no_digits"
    group: ClassVar[str] = "digits"
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether there is none (an empty text says nothing)."""
        return bool(text.strip()) and not re.search(r"\d", text)


def _decimals(match: re.Match[str], sentence: Masked) -> Constraint:
    return Decimals(whole_number(match.group("n")))


READERS = (
    pattern_reader(
        "number digit numeral",
        (
            (
                r"\b(?:answer|reply|respond|return|output|give me)(?: me)? (?:with )?(?:only|just|"
                r"nothing but) (?:a |the |one |a single )*(?:final )?"
                r"(?:number|integer)(?! of\b)\b|\bonly (?:return|output|give|reply with|answer with) (?:a |"
                r"the |one |a single )*(?:final )?(?:number|integer)(?! of\b)\b",
                lambda match, sentence: NumberOnly(),
            ),
            (
                r"\bspell (?:out )?(?:all |every |the |any )*numbers?(?: out)?(?: in words| as words)?\b|"
                r"\b(?:no|without(?: any| using)*|"
                r"(?:do not|don't|never) use(?: any)?|avoid(?: using)?) (?:digits|numerals)\b",
                lambda match, sentence: NoDigits(),
            ),
        ),
    ),
    pattern_reader(
        "decimal",
        (
            (
                rf"\b(?:to|with|use|using|exactly|at) (?:exactly )?(?P<n>{NUMBER}) (?:decimal places?|"
                rf"decimals|digits after the decimal point)\b",
                _decimals,
            ),
        ),
    ),
)
