"""Read the checkable part of a direction's text. Precision before recall: in doubt, nothing is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from policies.constraints import (
    bullets,
    json_object,
    language,
    length,
    letter_case,
    phrases,
    punctuation,
    words,
)
from policies.constraints.constraint import Constraint, Detect, Found, Masked, Reader, mask
from policies.sentences import split_sentences, word_set

_FAMILIES: tuple[Reader, ...] = (
    *json_object.READERS,
    *bullets.READERS,
    *phrases.READERS,
    *punctuation.READERS,
    *words.READERS,
    *letter_case.READERS,
    *length.READERS,
    *language.READERS,
)
_LONGEST = 2_000  # characters of a sentence that is looked at; longer ones are no direction of a person

# A demand under a condition, a wish or a choice says nothing about an answer on its own.
_CONDITION = re.compile(
    r"\b(?:if|unless|except|whenever|when|while|where|in case|until|only for|only when|depending|as needed|"
    r"if possible|try to|ideally|preferably|either|optionally|for example|instead of|rather than|but not)\b"
)
_HARMLESS_CONDITION = re.compile(
    r"\b(?:when|whenever|while|if) (?:you (?:answer|reply|respond|are answering|write)(?: me| to me)?|"
    r"answering|replying|responding|i ask(?: you)? (?:(?:a|any) questions?|something|anything))\b"
)
_RELEASE = re.compile(
    r"\b(?:don't|do not|no longer|needn't|not) (?:have to|need(?: to)?)\b|\bno need\b|\bnot necessar|"
    r"\bfeel free\b|\byou (?:may|can|could)\b(?! (?:only|not|never))|\bit(?:'s| is) (?:ok|okay|fine)\b|"
    r"\b(?:stop|quit) (?:answer|repl|respond|writ|us)ing\b"
)
_NEGATION = re.compile(
    r"(?:\b(?:not|never|don't|without|avoid|stop|no|isn't|aren't|rather than)\b|n't\b)[^,;:]*$"
)
_NEGATIVE_KINDS = frozenset({"forbidden_words", "no_character", "no_emoji", "no_question", "no_bullets"})
_FILLER = word_set(
    """
    a all always an and answer answers any anything are as at be begin beginning begins between but
    by completely concise create each else end ends english entire entirely every everything exactly
    final finish following for format formatted from future general give given going forward has
    have i in include is it its just keep letters long make may me message messages must my need
    never new no not nothing now of on one only or other our output outputs please produce provide
    question questions replies reply respond response responses return s should simply single start
    starting starts strictly sure text that the this these those to use using want way whole will
    with without words would write you your short brief like and/or conversation chat limit also
    then so when whenever ask answering line lines form named called key keys user user's
    """
)


@dataclass(frozen=True)
class Reading:
    """The constraints in a text; `complete` when they are all that the text demands."""

    constraints: tuple[Constraint, ...] = ()
    complete: bool = False


def read_constraints(text: str, detect: Detect | None = None) -> Reading:
    """Return what can be checked in a direction's text; nothing where it hangs on a condition."""
    return _read(text[: 4 * _LONGEST], detect)


@lru_cache(maxsize=8192)
def _read(text: str, detect: Detect | None) -> Reading:
    readings = [_read_sentence(sentence.text, detect) for sentence in split_sentences(text)]
    found = tuple(dict.fromkeys(c for reading in readings for c in reading.constraints))
    return Reading(_merge(found), bool(found) and all(reading.complete for reading in readings))


def _read_sentence(text: str, detect: Detect | None) -> Reading:
    if len(text) > _LONGEST:
        return Reading()
    sentence = mask(text)
    plain = _HARMLESS_CONDITION.sub(lambda m: " " * len(m.group()), sentence.text)
    if _CONDITION.search(plain) or _RELEASE.search(plain):
        return Reading()
    found = [f for reader in _FAMILIES for f in reader(sentence, detect) if not _negated(sentence, f)]
    constraints = tuple(dict.fromkeys(f.constraint for f in found))
    return Reading(constraints, _is_filler(sentence, found))


def _negated(sentence: Masked, found: Found) -> bool:
    """Say whether a positive demand stands behind a negation ("do not answer in JSON")."""
    if found.constraint.kind in _NEGATIVE_KINDS or re.match(
        r"\W*(?:no|without|don't|do not|never|avoid)\b", sentence.text[found.start :]
    ):
        return False
    return _NEGATION.search(sentence.text[: found.start]) is not None


def _is_filler(sentence: Masked, found: list[Found]) -> bool:
    """Say whether only words without a demand of their own are left beside what was read."""
    rest = list(sentence.text)
    for span in found:
        rest[span.start : span.end] = " " * (span.end - span.start)
    left = "".join(rest)
    return "#" not in left and all(word in _FILLER for word in re.findall(r"[a-z'/]+", left))


def _merge(found: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
    """Drop what a sharper constraint of the same text already says."""
    counts = [c.count for c in found if isinstance(c, bullets.Bullets) and c.count is not None]
    if counts:
        only = any(isinstance(c, bullets.Bullets) and c.only for c in found)
        found = (
            *(c for c in found if not isinstance(c, bullets.Bullets)),
            *(bullets.Bullets(n, only) for n in counts),
        )
    if any(isinstance(c, json_object.JsonObject) for c in found):
        found = tuple(c for c in found if not isinstance(c, json_object.ValidJson))
    return tuple(dict.fromkeys(found))
