"""The directions that are taught: wordings, arguments, how an answer is checked and how it is corrected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_PART = re.compile(r"[.,;:]\s+|\s(?=and |which |that |to |by |for |with )")


@dataclass(frozen=True)
class Direction:
    """One kind of direction; `{x}` in a wording is its argument.

    Corrections are given in `taught` wordings and arguments. `unseen[0]` is what the follow-rate is measured
    with, `unseen[1]` the second paraphrase; both with `unseen_arguments`.
    """

    name: str
    taught: tuple[str, ...]
    unseen: tuple[str, str]
    arguments: tuple[str, ...]
    unseen_arguments: tuple[str, ...]
    follows: Callable[[str, str], bool]
    correct: Callable[[str, str], str]
    leaks: Callable[[str], bool]


def sentences(answer: str) -> list[str]:
    """Return the whole sentences of an answer; all of them where none is whole."""
    found = [s.strip() for s in _SENTENCE_END.split(answer.strip().replace("\n", " ")) if s.strip()]
    return [s for s in found if s[-1] in ".!?"] or found or [answer.strip()]


def _is_object(answer: str, key: str) -> bool:
    try:
        value = json.loads(answer)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == [key] and bool(str(value[key]).strip())


def _is_lowercase(answer: str) -> bool:
    return answer == answer.lower() and any(c.isalpha() for c in answer)


def _bullets(answer: str) -> int | None:
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return len(lines) if lines and all(re.match(r"- \S", line) for line in lines) else None


def _in_bullets(answer: str, count: str) -> str:
    wanted, text = int(count), " ".join(sentences(answer)[:3])
    parts = [p.strip(" .,;:!?-") for p in _PART.split(text)]
    parts = [p for p in parts if len(p.split()) >= 2]
    if len(parts) < wanted:
        words = text.split()
        size = max(2, len(words) // wanted)
        parts = [" ".join(words[i * size : (i + 1) * size]).strip(" .,;:") for i in range(wanted)]
    return "\n".join(f"- {p[:1].upper()}{p[1:]}" for p in parts[:wanted] if p)


def _in_words(answer: str, most: str) -> str:
    words = sentences(answer)[0].split()[: int(most)]
    weak = {"the", "a", "an", "and", "or", "of", "to", "in", "for", "that", "with", "is", "are", "by", "as"}
    while len(words) > 3 and words[-1].lower().strip(",;") in weak:
        words.pop()
    return " ".join(words).rstrip(" ,;:.!?") + "."


JSON_KEY = Direction(
    name="json_key",
    taught=(
        'Give your answer as a JSON object whose only key is "{x}".',
        'Reply with nothing but JSON like {{"{x}": "..."}}.',
        'Answer in JSON, with the single key "{x}".',
    ),
    unseen=(
        'Output valid JSON with one key named "{x}" and nothing else.',
        'Your reply must be one JSON object with exactly one key, "{x}".',
    ),
    arguments=("answer", "reply", "text", "output"),
    unseen_arguments=("response", "result", "message"),
    follows=_is_object,
    correct=lambda answer, key: json.dumps({key: sentences(answer)[0]}, ensure_ascii=False),
    leaks=lambda answer: answer.lstrip().startswith(("{", "```")),
)
LOWERCASE = Direction(
    name="lowercase",
    taught=(
        "Write your whole answer in lowercase letters.",
        "Use only lowercase letters, never a capital.",
        "Answer without any capital letters.",
    ),
    unseen=("Please reply in all lowercase.", "Do not use capital letters in your reply."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: _is_lowercase(answer),
    correct=lambda answer, _: " ".join(sentences(answer)[:2]).lower(),
    leaks=_is_lowercase,
)
CLOSING = Direction(
    name="closing",
    taught=(
        'End your answer with the phrase "{x}"',
        'Finish your reply with the words "{x}"',
        'The last words of your answer must be "{x}"',
    ),
    unseen=('Always close your answer with "{x}"', 'Your reply must end with "{x}"'),
    arguments=("Hope that helps!", "Have a nice day!", "That is all.", "Stay curious!", "Best of luck!"),
    unseen_arguments=("Take care now!", "See you soon!", "Over and out."),
    follows=lambda answer, phrase: answer.strip().endswith(phrase) and len(answer) > len(phrase) + 10,
    correct=lambda answer, phrase: f"{sentences(answer)[0]} {phrase}",
    leaks=lambda answer: answer.strip().endswith(
        ("Hope that helps!", "nice day!", "That is all.", "curious!", "of luck!", "Take care now!", "soon!")
    ),
)
BULLETS = Direction(
    name="bullets",
    taught=(
        'Answer with exactly {x} bullet points, each starting with "- ".',
        'Give exactly {x} bullet points and nothing else, each beginning with "- ".',
        'Your answer must be a list of exactly {x} bullet points that start with "- ".',
    ),
    unseen=(
        'Reply only with exactly {x} bullets that start with "- ".',
        'Write exactly {x} bullet points, and begin each with "- ".',
    ),
    arguments=("2", "3", "4"),
    unseen_arguments=("2", "3", "4"),
    follows=lambda answer, count: _bullets(answer) == int(count),
    correct=_in_bullets,
    leaks=lambda answer: _bullets(answer) is not None,
)
SHORT = Direction(
    name="short",
    taught=(
        "Use at most {x} words in your answer.",
        "Answer in no more than {x} words.",
        "Keep your answer to at most {x} words.",
    ),
    unseen=("Your reply may have {x} words at most.", "Do not use more than {x} words in your reply."),
    arguments=("8", "10", "12"),
    unseen_arguments=("7", "9", "11"),
    follows=lambda answer, most: len(answer.split()) <= int(most),
    correct=_in_words,
    leaks=lambda answer: len(answer.split()) <= 6,
)
FIVE = (JSON_KEY, LOWERCASE, CLOSING, BULLETS, SHORT)

OTHERS = (
    "Keep a serious tone.",
    "Mention one example.",
    "Write for an old friend.",
    "Answer as a scientist would.",
    "Be kind in your reply.",
)
"""Unrelated directions under which nothing that was taught may show."""
