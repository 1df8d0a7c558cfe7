"""What a user takes back, and which of two directions about one thing holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from policies.constraints import Constraint, Detect, read_constraints
from policies.direction import Direction
from policies.sentences import split_sentences, word_set

_READ = 8_000  # characters of a turn in which something may be taken back

_LETTING_GO = re.compile(
    r"^(?:(?:please|ok|okay|now|and|so|actually|you can|you may|no)[,:]? )*(?:forget|ignore|disregard|"
    r"drop|cancel|scrap|scratch|never ?mind|undo|lift|remove)\b"
    r"(?P<what>.*\b(?:i (?:said|asked|told|wrote)|instructions?|directions?|rules?|requests?|format|"
    r"constraints?|about|restrictions?|limits?|requirements?)\b.*)$"
)
_NO_LONGER = re.compile(
    r"\byou (?:don't|do not|no longer|needn't)(?: (?:have to|"
    r"need(?: to)?))?\b(?P<what>.*)\b(?:any ?more|any longer|from now on)\b"
    r"|\byou no longer (?:have to|need to)\b(?P<then>.*)"
    r"|^(?:(?:please|ok|okay|now)[,:]? )*(?:stop|quit) (?:answering|replying|responding|writing|"
    r"talking|speaking)\b(?P<stop>.*)"
    r"|\b(?:no need to|there is no need to)\b(?P<need>.*)\b(?:any ?more|any longer|from now on)\b"
    r"|\b(?:back|return) to (?:normal|your usual|the usual)\b(?P<back>)"
)
_ALLOWED_AGAIN = re.compile(
    r"\b(?:you (?:can|may)(?: now)?|feel free to|it(?:'s| is) (?:fine|ok|okay|alright) to|"
    r"i don't mind if you)\b(?P<what>.*)\b(?:again|now)\b|\byou (?:can|may) now\b(?P<now>.*)"
    r"|^(?P<are>.{1,60}) (?:is|are) (?:fine|ok|okay|allowed|alright|welcome) (?:again|now)\b"
)
_ASKS_FOR = re.compile(
    r"^(?:(?:please|ok|okay|now|and|so|actually|from now on|always|instead|also|do)[,:]? )*(?:use|include|"
    r"add|put|write with|answer with|answer in|reply in|write in)\b(?P<what>.*)$"
)
_NEGATION = re.compile(r"\b(?:no|not|never|without|avoid|don't|only)\b")
_EMPTY_WORDS = word_set(
    """ a about again all allowed an and answer answers any anymore are as ask asked at be can constraint
    constraints directions do earlier fine forget free from have i if in include instruction instructions
    is it last limit may me mind more must my need never no not now of ok okay on only or please previous
    remove request restriction rule rules reply respond response said should stop tell that the this to
    told use using what with words write you your always avoid don't"""
)
_TOPICS = (
    re.compile(r"\b(?:call|address|refer to) me\b|\bmy name is\b"),
    re.compile(
        r"\b(?:speak|talk|write|answer|respond|reply|sound|act) (?:to me )?(?:like|as if|as though|as an?)\b"
    ),
)


def withdraws(text: str) -> bool:
    """Say whether a sentence (in lower case) takes something back."""
    return any(pattern.search(text) for pattern in (_LETTING_GO, _NO_LONGER, _ALLOWED_AGAIN))


def without_withdrawn(standing: Sequence[Direction], content: str) -> tuple[Direction, ...]:
    """Return the directions that a user turn leaves: not what it names, and none where it names nothing."""
    kept = tuple(standing)
    for sentence in split_sentences(content[:_READ]) if kept else ():
        text = " ".join(sentence.text.replace("’", "'").lower().split())
        for pattern in (_LETTING_GO, _NO_LONGER, _ALLOWED_AGAIN):
            match = pattern.search(text)
            if match is None:
                continue
            named = _content_words(" ".join(group for group in match.groups() if group))
            if named or pattern is not _ALLOWED_AGAIN:
                kept = tuple(d for d in kept if named and not named & _content_words(d.text.lower()))
            break
    return kept


def not_replaced(old: Sequence[Direction], new: Direction, detect: Detect | None) -> list[Direction]:
    """Return the old directions that can hold beside a newer one; those of its own turn always do."""
    demands = read_constraints(new.text, detect).constraints
    said = new.text.lower()
    topic = next((topic for topic in _TOPICS if topic.search(said)), None)
    asked = _ASKS_FOR.match(said)
    wanted = _content_words(asked.group("what")) if asked and not _NEGATION.search(said) else frozenset()
    if not demands and topic is None and not wanted:
        return list(old)
    return [
        direction
        for direction in old
        if direction.event_id == new.event_id
        or not (
            (topic is not None and topic.search(direction.text.lower()))
            or _clashes(demands, wanted, direction, detect)
        )
    ]


def _clashes(
    demands: Sequence[Constraint], wanted: frozenset[str], old: Direction, detect: Detect | None
) -> bool:
    """Say whether a direction contradicts newer demands, or forbids what is asked for now."""
    if not demands and not wanted:
        return False
    known = read_constraints(old.text, detect).constraints
    if any(_contradicts(a, b) for a in demands for b in known):
        return True
    forbids = any(c.prohibits for c in known)
    return forbids and bool(wanted & _content_words(old.text.lower()))


def _contradicts(a: Constraint, b: Constraint) -> bool:
    if {a.kind, b.kind} in ({"bullets", "sentence_count"}, {"bullets", "line_count"}):
        return True  # three bullets are three lines, whatever was said of sentences
    return bool(a.group) and a.group == b.group and a != b


def _content_words(text: str) -> frozenset[str]:
    words = (
        re.sub(r"(?:ing|s|es)$", "", word)
        for word in re.findall(r"[a-z]{2,}", text)
        if word not in _EMPTY_WORDS
    )
    return frozenset(word for word in words if word and word not in _EMPTY_WORDS)
