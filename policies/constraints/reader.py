"""Read the checkable part of a direction's text. Precision before recall: in doubt, nothing is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from policies.constraints import (
    bullets,
    frequency,
    json_object,
    language,
    length,
    letter_case,
    manners,
    markup,
    numbers,
    phrases,
    punctuation,
    responses,
    sections,
    tools,
    words,
)
from policies.constraints.constraint import Constraint, Detect, Found, Masked, Reader, mask
from policies.constraints.gates import builds, is_conditional, is_demand, is_denied, is_of_answer
from policies.sentences import split_sentences, word_set

_FAMILIES: tuple[Reader, ...] = (
    *json_object.READERS,
    *bullets.READERS,
    *phrases.READERS,
    *punctuation.READERS,
    *frequency.READERS,
    *words.READERS,
    *letter_case.READERS,
    *length.READERS,
    *language.READERS,
    *sections.READERS,
    *markup.READERS,
    *manners.READERS,
    *numbers.READERS,
    *tools.READERS,
)
_LONGEST = 2_000  # characters of a sentence that is looked at; longer ones are no direction of a person
_READ = 8_000  # characters of a text that are read

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
    return _read(text[:_READ], detect)


@lru_cache(maxsize=1024)
def _read(text: str, detect: Detect | None) -> Reading:
    masked = [mask(s.text) for s in split_sentences(text) if len(s.text) <= _LONGEST]
    readings = [_read_sentence(sentence, detect) for sentence in masked]
    asked = [sentence for sentence in masked if is_demand(sentence) and not builds(sentence)]
    whole = (*sections.read_passage(asked), *responses.read_passage(text, asked))
    found = tuple(dict.fromkeys((*(c for reading in readings for c in reading.constraints), *whole)))
    complete = bool(found) and not whole and all(reading.complete for reading in readings)
    return Reading(_merge(found), complete)


def _read_sentence(sentence: Masked, detect: Detect | None) -> Reading:
    if not is_demand(sentence):
        return Reading()
    built = builds(sentence)
    found = [
        f
        for reader in _FAMILIES
        for f in reader(sentence, detect)
        if not is_denied(sentence, f) and not is_conditional(sentence, f)
        # What is built has rules of its own; the work on it and the talk about it do not.
        if not built or isinstance(f.constraint, tools.ToolConstraint) or is_of_answer(sentence, f)
    ]
    constraints = tuple(dict.fromkeys(f.constraint for f in found))
    return Reading(constraints, _is_filler(sentence, found))


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
    if any(isinstance(c, sections.DividedParagraphs | sections.ParagraphStart) for c in found):
        found = tuple(c for c in found if not isinstance(c, length.ParagraphCount))
    return tuple(dict.fromkeys(found))
