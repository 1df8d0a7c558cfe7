"""Characters that an answer must not hold, and answers that are or are not questions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.constraint import Build, Constraint, pattern_reader
from policies.sentences import split_sentences

_EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\ufe0f\u200d]")
_CHARACTERS = {
    "comma": (",,、،", ""),
    "exclamation mark": ("!！", "."),
    "semicolon": (";", ","),
    "em dash": ("—", ","),
}


@dataclass(frozen=True)
class NoCharacter(Constraint):
    """One kind of mark (`comma`, `exclamation mark`, `semicolon`, `em dash`) does not occur."""

    name: str
    kind: ClassVar[str] = "no_character"
    group: ClassVar[str] = ""
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether the mark is absent (an empty text says nothing)."""
        return bool(text.strip()) and not any(c in text for c in _CHARACTERS[self.name][0])

    def edit(self, text: str) -> str:
        """Put the mark's nearest kin in its place, or nothing."""
        marks, instead = _CHARACTERS[self.name]
        return re.sub(rf"[ ]*[{re.escape(marks)}]+" if instead else rf"[{re.escape(marks)}]", instead, text)


@dataclass(frozen=True)
class NoEmoji(Constraint):
    """No emoji occurs."""

    kind: ClassVar[str] = "no_emoji"
    group: ClassVar[str] = "emoji"
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether there is none (an empty text says nothing)."""
        return bool(text.strip()) and not _EMOJI.search(text)

    def edit(self, text: str) -> str:
        """Take them out."""
        return re.sub(r"[ \t]{2,}", " ", _EMOJI.sub("", text)).strip()


@dataclass(frozen=True)
class NoQuestion(Constraint):
    """No question mark occurs."""

    kind: ClassVar[str] = "no_question"
    group: ClassVar[str] = "question"
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether there is none (an empty text says nothing)."""
        return bool(text.strip()) and not re.search(r"[?？]", text)

    def edit(self, text: str) -> str | None:
        """Drop the sentences that ask."""
        return " ".join(s.text for s in split_sentences(text) if self.check(s.text)) or None


@dataclass(frozen=True)
class EndsWithQuestion(Constraint):
    """The last character is a question mark."""

    kind: ClassVar[str] = "ends_with_question"
    group: ClassVar[str] = "end"

    def check(self, text: str) -> bool:
        """Say whether the answer ends by asking."""
        return text.rstrip(" \t\n\"'*_”)").endswith(("?", "？"))


_NOT = (
    r"(?:no|without(?: any| the use of| using| including| containing)*|"
    r"(?:do not|don't|never|not|cannot|can't|mustn't|shouldn't) (?:to )?(?:use|include|write|put|add|"
    r"contain|have)(?: any| an?)?|"
    r"(?:avoid|refrain from|abstain from|skip|free of|free from|devoid of|exclude|omit|stop|"
    r"drop)(?: the use of| any| using| all| of)*)"
)
_ASK = r"(?:do not|don't|never|without|avoid|stop|no)"
_NOWHERE = r"(?: at all| whatsoever| (?:are|is) allowed)?"


def _no(name: str) -> Build:
    return lambda match, sentence: NoCharacter(name)


def _banned(marks: str) -> str:
    """Return the pattern of a ban on marks: "no commas", "commas are not allowed"."""
    return (
        rf"\b{_NOT} {marks}{_NOWHERE}"
        rf"|\b{marks} (?:are|is|should|must|may|can) ?(?:not|never)(?: be)? (?:allowed|permitted|used|"
        rf"appear|included|present)|\b{marks} (?:are|is) (?:forbidden|prohibited|banned)"
    )


READERS = (
    pattern_reader(
        "comma exclamation semi dash emoji emoticon question",
        (
            (_banned(r"(?:the )?commas?\b(?: characters?)?"), _no("comma")),
            (_banned(r"exclamation (?:marks?|points?)\b"), _no("exclamation mark")),
            (_banned(r"semi-?colons?\b"), _no("semicolon")),
            (_banned(r"em ?-?dash(?:es)?\b"), _no("em dash")),
            (_banned(r"(?:emojis?|emoticons)\b"), lambda match, sentence: NoEmoji()),
            (
                rf"\b{_NOT} question marks?\b{_NOWHERE}|\b{_ASK} (?:ask|asking)(?: me| the user)?"
                r"(?: any)?(?: more)? questions\b(?: back)?(?=$|[.!;]| in your (?:answers?|repl(?:y|ies)))",
                lambda match, sentence: NoQuestion(),
            ),
            (
                r"\b(?:end|finish|close|conclude) (?:every |each |your |the |all |your )*"
                r"(?:answers?|repl(?:y|ies)|responses?|messages?)? ?(?:with|on|by asking) (?:a|one) "
                r"(?:follow-up |short |open |single )*question(?: mark)?\b",
                lambda match, sentence: EndsWithQuestion(),
            ),
        ),
    ),
)
