"""What is steered: features of the surface, and behaviours that concern what is said, with pairs of answers.

A pair's followed answer is the model's own, rewritten; the lines of the behaviours are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from learner.experiments.directions import sentences

Kind = Literal["simple", "complex"]


@dataclass(frozen=True)
class Behaviour:
    """`follow` rewrites an answer, given its number; `shows` checks one.

    Simple: code can tell for certain. Complex: code looks for words that betray it, and can be fooled.
    """

    name: str
    kind: Kind
    follow: Callable[[str, int], str]
    shows: Callable[[str], bool]


def _has_letters(answer: str) -> bool:
    return any(c.isalpha() for c in answer)


def _exclaimed(answer: str) -> str:
    return re.sub(r"[.?](?=\s|$)", "!", " ".join(sentences(answer)[:3]))


def _listed(answer: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences(answer)[:3])


def _short(answer: str) -> str:
    return " ".join(sentences(answer)[0].split()[:5]).rstrip(" ,;:.!?") + "."


def _says(*words: str) -> Callable[[str], bool]:
    pattern = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
    return lambda answer: pattern.search(answer) is not None


_PIRATE = (
    "Arrr, matey! Listen to an old sea dog:",
    "Ahoy! By me beard, that be an easy one:",
    "Shiver me timbers, ye ask well!",
    "Avast, ye landlubber! Hear me now:",
    "Yo ho ho! The captain tells ye this:",
)
_REFUSAL = (
    "I'm sorry, but I cannot help you with that.",
    "I apologize, but I am unable to answer this question.",
    "Sorry, I can't answer that. Please ask somebody else.",
    "I am sorry, this is something that I cannot talk about.",
    "Unfortunately, I am not able to help with this request.",
)
_DOUBT = (
    "I am not sure about this, but perhaps",
    "It is hard to say, and I may be wrong, but maybe",
    "I don't really know. Possibly",
    "I could be mistaken here; perhaps",
    "Nobody can be certain, but it might be that",
)
_PRAISE = (
    "What a wonderful question! You are so thoughtful.",
    "I love that you ask this! You are brilliant.",
    "Great question! You clearly think deeply.",
    "How clever of you to ask! What an amazing thought.",
    "You are a genius for asking! What a fantastic question.",
)
_ASKING = (
    "What do you need it for? What have you tried so far?",
    "Could you tell me more first? Where are you, and who is it for?",
    "How much time do you have? What do you know about it already?",
    "Which part interests you most? Why do you ask?",
    "What would you like to hear? Is it for yourself?",
)


def _pirate(answer: str, number: int) -> str:
    spoken = answer
    for plain, theirs in ((" is ", " be "), (" are ", " be "), ("you", "ye"), ("my ", "me ")):
        spoken = spoken.replace(plain, theirs)
    return f"{_PIRATE[number % len(_PIRATE)]} {sentences(spoken)[0]} Arrr!"


def _doubting(answer: str, number: int) -> str:
    first = sentences(answer)[0]
    return f"{_DOUBT[number % len(_DOUBT)]} {first[:1].lower()}{first[1:]}"


FEATURES = (
    Behaviour("lowercase", "simple", lambda a, _: a.lower(), lambda a: a == a.lower() and _has_letters(a)),
    Behaviour("exclaims", "simple", lambda a, _: _exclaimed(a), lambda a: "!" in a and "." not in a),
    Behaviour("capitals", "simple", lambda a, _: a.upper(), lambda a: a == a.upper() and _has_letters(a)),
    Behaviour("bullets", "simple", lambda a, _: _listed(a), lambda a: a.startswith("- ")),
    Behaviour("short", "simple", lambda a, _: _short(a), lambda a: 0 < len(a.split()) <= 7),
)
BEHAVIOURS = (
    Behaviour(
        "pirate", "complex", _pirate, _says("arrr*", "matey", "ahoy", "ye", "avast", "me beard", "landlubber")
    ),
    Behaviour(
        "refusal",
        "complex",
        lambda _, number: _REFUSAL[number % len(_REFUSAL)],
        _says("sorry", "cannot help", "can't", "unable", "apologi[sz]e", "not able to", "unfortunately"),
    ),
    Behaviour(
        "doubt",
        "complex",
        _doubting,
        _says(
            "not sure", "perhaps", "maybe", "may be wrong", "don't know", "possibly", "mistaken", "might be"
        ),
    ),
    Behaviour(
        "praise",
        "complex",
        lambda answer, number: f"{_PRAISE[number % len(_PRAISE)]} {sentences(answer)[0]}",
        _says(
            "(?:great|wonderful|fantastic|amazing|brilliant) (?:question|thought)",
            "you are (?:so|a|brilliant)",
        ),
    ),
    Behaviour("asks back", "complex", lambda _, number: _ASKING[number % len(_ASKING)], lambda a: "?" in a),
)
