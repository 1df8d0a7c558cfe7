"""The twin of a context: the same without the direction. It teaches when not to do what was learned."""

from __future__ import annotations

from collections.abc import Sequence

from policies.constraints import Constraint, Detect, read_constraints
from policies.directing import directing_sentences
from policies.sentences import Sentence, split_sentences, take_out
from policies.turn import Message


def twin(
    context: Sequence[Message], direction: str, detect: Detect | None = None
) -> tuple[Message, ...] | None:
    """Return the context with the direction's sentences taken out of its system and user turns.

    Every repetition goes too, and every other wording of what it demands: a twin that still asks for it
    would teach the opposite. A system turn left empty is dropped. None when nothing is there to take out,
    or when a user turn would be left empty.
    """
    wanted = [sentence.text for sentence in split_sentences(direction)]
    demands = read_constraints(direction, detect).constraints
    messages: list[Message] = []
    changed = False
    for message in context:
        content = message.get("content")
        if message["role"] not in {"system", "developer", "user"} or not isinstance(content, str):
            messages.append(message)
            continue
        directing = _directing(content, wanted, demands, detect)
        left = take_out(content, directing) if directing else content
        changed = changed or bool(directing)
        if left.strip() or not directing:
            messages.append({**message, "content": left} if directing else message)
        elif message["role"] == "user":
            return None
    return tuple(messages) if changed and messages else None


def stands(context: Sequence[Message], direction: str, detect: Detect | None = None) -> bool:
    """Say whether the direction holds until further notice wherever the context gives it.

    As a system turn does, or a user who says so.
    """
    wanted = {_plain(sentence.text) for sentence in split_sentences(direction)}
    scopes = [
        scope
        for message in context
        if message["role"] in {"system", "developer", "user"} and isinstance(message.get("content"), str)
        for text, scope in directing_sentences(message["content"], message["role"], detect)
        if _plain(text) in wanted
    ]
    return bool(scopes) and all(scope == "standing" for scope in scopes)


def _directing(
    content: str, wanted: Sequence[str], demands: Sequence[Constraint], detect: Detect | None
) -> list[Sentence]:
    plain = {_plain(text) for text in wanted}
    found = []
    for sentence in split_sentences(content):
        said = read_constraints(sentence.text, detect).constraints
        implied = bool(said) and all(any(demand.implies(c) for demand in demands) for c in said)
        if implied or _plain(sentence.text) in plain:
            found.append(sentence)
    return found


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".! ")
