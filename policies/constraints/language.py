"""Answers in a given language. Detection comes in as a function; without one nothing is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from policies.constraints.constraint import Constraint, Detect, Found, Masked

LANGUAGES = {
    "arabic": "ar", "bengali": "bn", "bulgarian": "bg", "chinese": "zh", "croatian": "hr", "czech": "cs",
    "danish": "da", "dutch": "nl", "english": "en", "estonian": "et", "farsi": "fa", "finnish": "fi",
    "french": "fr", "german": "de", "greek": "el", "gujarati": "gu", "hebrew": "he", "hindi": "hi",
    "hungarian": "hu", "indonesian": "id", "italian": "it", "japanese": "ja", "kannada": "kn", "korean": "ko",
    "latvian": "lv", "lithuanian": "lt", "malayalam": "ml", "marathi": "mr", "nepali": "ne",
    "norwegian": "no",
    "persian": "fa", "polish": "pl", "portuguese": "pt", "punjabi": "pa", "romanian": "ro", "russian": "ru",
    "slovak": "sk", "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta",
    "telugu": "te", "thai": "th", "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}  # fmt: skip
"""Names of languages that a detector knows, with their ISO 639-1 codes."""


@dataclass(frozen=True)
class Language(Constraint):
    """The answer is in the language with this ISO 639-1 code."""

    code: str
    detect: Detect = field(compare=False, repr=False)
    kind: ClassVar[str] = "language"
    group: ClassVar[str] = "language"
    confidence: ClassVar[float] = 0.93

    def check(self, text: str) -> bool | None:
        """Compare the detected language; None where it cannot be told (too short, only code)."""
        found = self.detect(text)
        return None if found is None else found == self.code


_NAME = "|".join(LANGUAGES)
_ANSWERING = (
    r"(?:answer|reply|respond|speak|talk|write|communicate)(?: to me| back| the user| always| only|"
    r" to the user| "
    r"your (?:answers?|repl(?:y|ies)|responses?)| everything| all (?:answers|replies|responses))*"
)
_SUBJECT = r"(?:answers?|repl(?:y|ies)|responses?|output)"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b{_ANSWERING} (?:only |always |exclusively |entirely |solely )*(?:in|using) (?:only |"
        rf"the )*(?P<l>{_NAME})\b(?: language)?(?: only)?",
        rf"\b(?:use|speak) only (?:the )?(?P<l>{_NAME})\b(?: language)?|\b(?:use|"
        rf"speak) (?:the )?(?P<k>{_NAME}) only\b",
        rf"\b{_SUBJECT} (?:must |should |has to |have to |needs to |is to |are to )+be (?:written |given )?"
        rf"(?:only |entirely |completely |fully |all )*(?:in|using) (?:only )?(?:the )?(?P<l>{_NAME})\b(?: "
        rf"language)?(?: only)?",
        rf"\b(?:in|using) (?P<l>{_NAME}) (?:language )?only\b|\bonly in (?:the )?(?P<k>{_NAME})\b(?: "
        rf"language)?",
        rf"^(?:please )?in (?P<l>{_NAME})(?:,? please)?[.!]?$",
        rf"\b(?:(?:using|use|in)(?: only)?|only using|only in|only) (?:the )?(?P<l>{_NAME})\b(?: language)?"
        r"(?= [^.]{0,40}\bno other languages?\b|,? (?:and |with )?no other languages?\b)",
    )
)
_NAMES = re.compile(rf"\b(?:{_NAME})\b")
_OTHERS = re.compile(
    r",? ?(?:and )?no other language (?:is|should be|may be) \w+(?: throughout)?(?: \w+){0,4}"
)


def read(sentence: Masked, detect: Detect | None) -> Iterator[Found]:
    """Find "answer in French" and its like; two languages in one sentence are not read."""
    if detect is None or len(set(_NAMES.findall(sentence.text))) != 1:
        return
    for pattern in _PATTERNS:
        match = pattern.search(sentence.text)
        if match:
            groups = match.groupdict()
            constraint = Language(LANGUAGES[groups["l"] or groups["k"]], detect)
            yield Found(constraint, *match.span())
            others = _OTHERS.search(sentence.text)
            if others:
                yield Found(constraint, *others.span())
            return


READERS = (read,)
