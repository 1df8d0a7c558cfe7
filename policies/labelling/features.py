"""What can be seen in the user's next turn: a few dozen numbers with names, each small and readable."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from policies.labelling.lexicon import lexicon
from policies.labelling.protocol import Case
from policies.sentences import word_set

_READ = 120  # words: in a longer turn the first ones react, the rest is the next task
_OPENERS = ("refusal", "assent", "order", "polite_order", "question_word", "next", "praise_opening")
_EARLIER = 6  # user turns that a rephrase may go back to
_SHORT = 4
_TAIL = 300  # characters: the end of an answer, where it asks or reports

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.S)
_PATH = re.compile(r"""(["'`])[^"'`\n]*/[^"'`\n]*\1|\S*/\S+/\S*|https?://\S+""")
_PASTED = re.compile(
    r"^\s*(?:at .+:\d+|[+-] ?\d+ |[>$%#➜] |Traceback|[│├└─╭╰].*|\w*(?:Error|Exception|Warning)\b.*:"
    r"|.*[{};]\s*$|.{200,})"
)
_DONE = re.compile(
    r"\b(?:done|fixed|updated|completed?|added|created|removed|changed|implemented|works?|should now|now)\b",
    re.I,
)
_OFFER = re.compile(
    r"\b(?:what do you think of|would you like|would you prefer|do you want|shall i|should i|how about"
    r"|i suggest|i recommend|anything else|let me know if|which (?:one|of)|may i|can i (?:help|assist))\b",
    re.I,
)
_APOLOGY = re.compile(r"\b(?:sorry|apologi[sz]e|you're right|you are right|my mistake)\b", re.I)
_WORD = re.compile(r"[a-z0-9_]+")
_FILLERS = word_set("even really just literally actually again hell heck fucking damn fuck ever so very")
"""Words that stand in the midst of a phrase and change nothing."""
_COMMON = word_set(
    """
    the a an of to in on at for and or but is are was be been it its this that these those i you we they
    he she my your our me us them do does did have has had can could will would should not no so if as
    with by from about what which who how when where why there here just also please one some any all
    more then than now im dont doesnt didnt ok yes
    """
)
_ENGLISH = word_set(
    "the and this that you with what which when should would does have your they there then these could about"
)


def features(case: Case) -> dict[str, float]:
    """Return the features of the next user turn in its context; empty where there is none yet.

    Values lie between 0 and 1 mostly, 0 being nothing to see; there are always the same names.
    """
    reaction = next((turn for turn in case.following if turn.role == "user"), None)
    if reaction is None:
        return {}
    asked = [turn.content for turn in case.decision.context if turn.role == "user"][-_EARLIER:]
    answer = case.decision.turn.content
    interrupted = case.decision.turn.interrupted
    prose = own_words(reaction.content)
    words = tokens(prose)[:_READ]
    found = _phrase_features(words)
    found |= _shape_features(reaction.content, prose, words)
    found |= _answer_features(answer, interrupted)
    found |= _overlap_features(words, asked, answer)
    return found | _joint_features(found, words)


def own_words(text: str) -> str:
    """Return a user's turn without what is pasted into it: code, paths, logs."""
    text = _PATH.sub(" ", _FENCE.sub(" ", text.replace("’", "'")))
    return "\n".join(line for line in text.splitlines() if not _PASTED.match(line)).strip()


def is_plainly_english(words: Sequence[str]) -> bool:
    """Say whether a text is English by its commonest words alone, some of which no other language has."""
    common = [word for word in words if word in _COMMON]
    return len(set(common)) >= 3 and len(common) >= 0.3 * len(words) and not _ENGLISH.isdisjoint(common)


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case, apostrophes left out."""
    return _WORD.findall(text.lower().replace("’", "'").replace("'", ""))


def _phrase_features(words: Sequence[str]) -> dict[str, float]:
    found = {}
    plain = [word for word in words if word not in _FILLERS]
    for name, phrases in lexicon().items():
        places = phrases.places(words) or (phrases.places(plain) if len(plain) < len(words) else [])
        found[name] = float(bool(places))
        if name in _OPENERS:
            found[f"{name}_first"] = float(bool(places) and places[0] == 0)
    return found


def _shape_features(raw: str, prose: str, words: Sequence[str]) -> dict[str, float]:
    shouted = [word for word in re.findall(r"\b[A-Z]{3,}\b", prose) if not word.isdigit()]
    first_line = raw.strip().splitlines()[0] if raw.strip() else ""
    return {
        "length": math.log1p(len(words)) / 5,
        "short": float(0 < len(words) <= _SHORT),
        "empty": float(not words),
        "exclaims": float("!" in prose),
        "asks": float(prose.endswith("?")),
        "asks_twice": float("??" in prose or prose.count("?") > 1),
        "trails_off": float("..." in prose or "…" in prose),
        "shouts": float(bool(shouted)),
        "values": _ratio(sum(any(c.isdigit() for c in word) for word in words), len(words)),
        "pastes": float(len(own_words(raw)) < 0.8 * len(raw.strip())),
        "points_at_picture": float(bool(re.search(r"\.(?:png|jpe?g|gif|webp)\b", raw))),
        "quotes_change": float(bool(re.match(r"\s*[+-] ?\d+", raw))),
        "command": float(first_line.startswith("/") and "/" not in first_line[1:]),
    }


def _answer_features(answer: str, interrupted: bool) -> dict[str, float]:
    tail = answer.strip()[-_TAIL:]
    return {
        "answer_empty": float(not answer.strip() or answer.strip() == "[aborted]"),
        "answer_aborted": float(interrupted or answer.lstrip().startswith(("[aborted]", "[interrupted"))),
        "answer_asks": float("?" in tail[-120:] or bool(_OFFER.search(tail))),
        "answer_reports": float(bool(_DONE.search(tail) or _DONE.search(answer[:_TAIL]))),
        "answer_apologises": float(bool(_APOLOGY.search(answer))),
        "answer_long": math.log1p(len(answer)) / 10,
    }


def _overlap_features(words: Sequence[str], asked: Sequence[str], answer: str) -> dict[str, float]:
    said = _content(words)
    requests = [_content(tokens(text)) for text in asked]
    answered = _content(tokens(answer))
    last = requests[-1] if requests else frozenset()
    return {
        "repeats_request": max((_share(said & one, said | one) for one in requests), default=0.0),
        "same_as_request": float(bool(asked) and bool(words) and tokens(asked[-1]) == list(words)),
        "within_request": max((_share(said & one, said) for one in requests), default=0.0) * (len(said) > 1),
        "echoes_answer": _share(said & answered, said),
        "answer_off_request": float(bool(last) and bool(answered) and not last & answered),
    }


def _joint_features(found: dict[str, float], words: Sequence[str]) -> dict[str, float]:
    """What two things say together and neither says alone."""

    def both(*names: str) -> float:
        return math.prod(found[name] for name in names)

    blames = max(found["your_act"], found["own_demand"], found["denial"], found["no_effect"])
    return {
        "refuses_offer": both("refusal_first", "answer_asks"),
        "refuses_unasked": both("refusal_first") * (1 - found["answer_asks"]),
        "declines_offer": both("declining", "answer_asks"),
        "still_fails": both("persistence") * max(found["failure"], found["no_effect"], found["negation"]),
        "fails_unasked": max(found["failure"], found["no_effect"]) * (1 - found["answer_asks"]),
        "strong_unasked": both("strong") * (1 - found["answer_asks"]),
        "blames_shortly": blames * float(len(words) <= 15),
        "praises_and_blames": both("thanks") * blames,
        "orders_first": max(found["order_first"], found["polite_order_first"]),
        "orders_after_assent": both("assent_first")
        * max(found["order"], found["polite_order"], found["next"]),
        "obliges_unasked": max(found["obligation"], found["prohibition"]) * (1 - found["answer_asks"]),
        "incoherent_short": both("incoherence", "short") + both("incoherence") * float(len(words) <= 10),
        "what_alone": float(bool(words) and len(words) <= 2 and words[0] in {"what", "huh", "eh"}),
        "refuses_and_obliges": both("refusal_first") * max(found["obligation"], found["contrast"]),
        "asks_wh_after_report": both("asks", "answer_reports") * max(found["doubt"], found["persistence"]),
    }


def _content(words: Sequence[str]) -> frozenset[str]:
    return frozenset(word for word in words if word not in _COMMON and len(word) > 1)


def _share(part: frozenset[str], whole: frozenset[str]) -> float:
    return _ratio(len(part), len(whole))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
