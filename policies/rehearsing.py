"""Rehearsal: from one corrected decision, further decision points where the same direction applies.

A correction says what was right once. What makes a habit of it is the same direction over other prompts, with
other arguments ("the key "answer"", "exactly 3 bullets": the rule is to be learned, not one value), and the
prompts without it, where nothing may change. Here is decided what to ask; the learner asks and keeps what the
constraints confirm.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from policies.constraints import Constraint, Detect, broken, read_constraints, repair_all
from policies.directing import directing_sentences
from policies.example import Example
from policies.turn import Message
from policies.twins import twin

OTHER_DIRECTIONS = (
    "Speak plainly.",
    "Use a cheerful voice.",
    "Be exact and factual.",
    "Explain it to a beginner.",
    "Sound like a patient teacher.",
    "Give a practical hint.",
    "Stay neutral.",
    "Be warm and encouraging.",
)
"""Under these, too, nothing of a rehearsed direction may show: a third of the twins carry one."""
_WORDS = ("value", "note", "content", "summary", "info", "body", "line", "data", "solution", "topic")
_PHRASES = (
    "Thanks for reading.",
    "All the best!",
    "Good luck with it!",
    "And there you have it.",
    "I am glad to help!",
    "Ask me anytime.",
    "Until next time!",
)
_NUMBER_WORDS = (
    *("one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_NUMBER = re.compile(rf"\b(?:\d{{1,3}}|{'|'.join(_NUMBER_WORDS)})\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“][^\"”]*[\"”]")
_LONGEST_PROMPT, _LONGEST_OTHER = 300, 120  # characters
_MOST_USES = 3
_NEAR = 2
"""How far another number may be from the one that was given."""


@dataclass(frozen=True)
class Occasion:
    """A further prompt under a direction: the context to answer, and its twin without the direction.

    `waived` are kinds of constraint in the context that the corrected answer itself does not keep: where both
    cannot be had, the direction that was corrected wins.
    """

    context: tuple[Message, ...]
    direction: str
    twin_context: tuple[Message, ...]
    waived: frozenset[str] = frozenset()


def shares(
    corrections: Sequence[Example], aim: int, most: int, detect: Detect | None = None
) -> dict[str, int]:
    """Return how many rehearsals each correction gets, by its id: few corrections of a rule get many.

    Corrections of one rule (the same kinds of constraint, whatever the wording and the arguments) and their
    rehearsals are `aim` decision points together; no correction gets more than `most`. The later ones get one
    more where it does not come out even.
    """
    found: dict[str, int] = {}
    for ids in _by_rule(corrections, detect).values():
        each, over = divmod(max(0, aim - len(ids)), len(ids))
        found |= {one: min(most, each + (place < over)) for place, one in enumerate(reversed(ids))}
    return found


def uses_of(corrections: Sequence[Example], each: int, detect: Detect | None = None) -> int:
    """Return how often a rehearsal is trained on in a round of these corrections.

    Each rule is kept apart from each other one: `each` times the number of rules, three at most
    (docs/log.md).
    """
    return each * max(1, min(_MOST_USES, len(_by_rule(corrections, detect))))


def _by_rule(corrections: Sequence[Example], detect: Detect | None) -> dict[tuple[str, ...], list[str]]:
    """Return the ids of the corrections that can be rehearsed, by the kinds of constraint that they teach."""
    rules: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for example in corrections:
        kinds = _kinds(read_constraints(example.direction or "", detect).constraints)
        if kinds and example.twin_context is not None:
            rules[kinds].append(example.id)
    return rules


def same_rule(one: Example, other: Example, detect: Detect | None = None) -> bool:
    """Say whether two corrections teach the same kinds of constraint."""
    kinds = [_kinds(read_constraints(e.direction or "", detect).constraints) for e in (one, other)]
    return kinds[0] == kinds[1]


def other_directions(stated: Sequence[str], taught: Sequence[str], detect: Detect | None = None) -> list[str]:
    """Return directions that a twin may stand under, of those `stated` in the agent's log, and our own.

    A twin keeps the base model's answer, so nothing that is checkable or taught is among them: the twin would
    teach to ignore it.
    """
    known = {" ".join(text.lower().split()) for text in taught}
    fit = [
        text
        for text in dict.fromkeys(stated)
        if len(text) <= _LONGEST_OTHER
        and " ".join(text.lower().split()) not in known
        and not read_constraints(text, detect).constraints
    ]
    return [*fit, *OTHER_DIRECTIONS]


def bare(text: str) -> str:
    """Return what makes two prompts the same: their words, whatever the case and the space."""
    return " ".join(text.lower().split())


def prompts_of(texts: Sequence[str], forbidden: Sequence[str], detect: Detect | None = None) -> list[str]:
    """Return the prompts to rehearse on: short requests that give no direction, and none of `forbidden`."""
    out = frozenset(map(bare, forbidden))
    return [
        text
        for text in dict.fromkeys(text.strip() for text in texts)
        if 0 < len(text) <= _LONGEST_PROMPT
        and bare(text) not in out
        and not directing_sentences(text, "user")
        and not read_constraints(text, detect).constraints
    ]


def occasions(
    example: Example,
    prompts: Sequence[str],
    count: int,
    rng: random.Random,
    detect: Detect | None = None,
    others: Sequence[str] = OTHER_DIRECTIONS,
) -> list[Occasion]:
    """Return at most `count` occasions for the direction of a correction, on `prompts` without repetition.

    With the same state of `rng`, fewer are the first of more. None where the direction has no twin or nothing
    checkable: no answer to them could be confirmed.
    """
    if example.direction is None or example.twin_context is None:
        return []
    demands = read_constraints(example.direction, detect).constraints
    if not demands:
        return []
    asked = _question(example.twin_context)
    drawn = [prompt for prompt in rng.sample(list(prompts), len(prompts)) if prompt != asked]
    seed = rng.random()
    found: list[Occasion] = []
    for index, prompt in enumerate(drawn):
        if len(found) == count:
            break
        own = random.Random(f"{seed}/{index}")
        occasion = _occasion(example, demands, (asked, prompt), len(found), own, detect, others)
        found += [] if occasion is None else [occasion]
    return found


def _occasion(
    example: Example,
    demands: Sequence[Constraint],
    questions: tuple[str, str],
    index: int,
    rng: random.Random,
    detect: Detect | None,
    others: Sequence[str],
) -> Occasion | None:
    """Every second occasion has another argument, where the direction has one; in every fourth the direction
    stands in the other turn.
    """
    direction = example.direction or ""
    asked, prompt = questions
    if not asked or asked not in str(_last_user(example.context).get("content") or ""):
        return None
    varied = index % 2 == 1 and any(direction in str(m.get("content") or "") for m in example.context)
    said = with_other_argument(direction, demands, rng, detect) if varied else direction
    context = _short(_asking(example.context, asked, prompt, direction, said), said)
    without = twin(context, said, detect)
    if without is None:
        return None
    if index % 4 == 2:
        context = _elsewhere(context, without, said)
    waived = frozenset(c.kind for c in broken(example.chosen or "", _said(example.context, detect)))
    return Occasion(context, said, _varied(without, index, rng, others), waived)


def repaired(occasion: Occasion, answer: str, detect: Detect | None = None) -> str | None:
    """Return a repair of `answer` that keeps the occasion's direction and breaks no other of its context.

    None where there is no repair; where the answer follows already, the answer itself.
    """
    target = read_constraints(occasion.direction, detect).constraints
    fixed = repair_all(answer.strip(), [*target, *_beside(occasion, target, detect)])
    return fixed if fixed is not None and keeps(occasion, fixed, detect) else None


def keeps(occasion: Occasion, answer: str, detect: Detect | None = None) -> bool:
    """Say whether an answer is known to keep the whole direction, and breaks no other of the context."""
    target = read_constraints(occasion.direction, detect).constraints
    kept = bool(target) and all(constraint.check(answer) for constraint in target)
    return kept and not broken(answer, _beside(occasion, target, detect))


def _beside(occasion: Occasion, target: Sequence[Constraint], detect: Detect | None) -> list[Constraint]:
    """Return what other directions of the context demand and the rehearsed one does not govern."""
    governed = {constraint.group for constraint in target if constraint.group}
    return [
        c
        for c in _said(occasion.context, detect)
        if c not in target and c.group not in governed and c.kind not in occasion.waived
    ]


def _said(context: Sequence[Message], detect: Detect | None) -> list[Constraint]:
    """Return everything checkable that a context demands."""
    found = (
        constraint
        for message in context
        if message["role"] in ("system", "developer", "user")
        for constraint in read_constraints(str(message.get("content") or ""), detect).constraints
    )
    return list(dict.fromkeys(found))


def is_sound(answer: str, direction: str) -> bool:
    """Say whether an answer is one: it neither goes round in circles nor recites the direction.

    A run of words counts from four that come twice, and from five of the direction outside its quotations.
    """
    words = re.findall(r"\w+", answer.lower())
    runs = _runs(words, 4)
    recited = set(_runs(re.findall(r"\w+", _QUOTED.sub(" . ", direction).lower()), 5))
    return len(set(runs)) == len(runs) and not recited & set(_runs(words, 5))


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


def _kinds(demands: Sequence[Constraint]) -> tuple[str, ...]:
    return tuple(sorted(demand.kind for demand in demands))


def _last_user(context: Sequence[Message]) -> Message:
    return next((m for m in reversed(context) if m["role"] == "user"), {})


def with_other_argument(
    direction: str, demands: Sequence[Constraint], rng: random.Random, detect: Detect | None = None
) -> str:
    """Return the direction with another quoted word, phrase or number; itself where the rule would change."""
    for value in rng.sample(_arguments(demands), len(_arguments(demands))):
        changed = _replaced(direction, value, rng)
        read = read_constraints(changed, detect).constraints
        if changed != direction and [c.kind for c in read] == [c.kind for c in demands]:
            return changed
    return direction


def _arguments(demands: Sequence[Constraint]) -> list[str | int]:
    found: list[str | int] = []
    for constraint in demands:
        for value in constraint.arguments.values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, str) or (isinstance(part, int) and not isinstance(part, bool)):
                    found.append(part)
    return found


def _replaced(direction: str, value: str | int, rng: random.Random) -> str:
    if isinstance(value, str):
        pool = _WORDS if re.fullmatch(r"[a-z_]+", value) else _PHRASES
        quoted = re.compile(rf"(?<=[\"'“`]){re.escape(value)}(?=[\"'”`])")
        word = rng.choice([one for one in pool if one != value])
        return quoted.sub(lambda _: word, direction)
    numbers = list(_NUMBER.finditer(direction))
    if len(numbers) != 1:
        return direction
    near = [n for n in range(max(min(2, value), value - _NEAR), value + _NEAR + 1) if n != value]
    other = rng.choice(near)
    as_word = not numbers[0].group().isdigit() and other <= len(_NUMBER_WORDS)
    text = _NUMBER_WORDS[other - 1] if as_word else str(other)
    return direction[: numbers[0].start()] + text + direction[numbers[0].end() :]


def _question(twin_context: Sequence[Message]) -> str:
    """Return what the last user turn asks when the direction is taken out of it."""
    return str(_last_user(twin_context).get("content") or "")


def _asking(
    context: Sequence[Message], asked: str, prompt: str, direction: str, said: str
) -> tuple[Message, ...]:
    """Return the context with another question, and the direction said with another argument."""
    last = max((i for i, m in enumerate(context) if m["role"] == "user"), default=-1)
    messages = []
    for index, message in enumerate(context):
        content = str(message.get("content") or "")
        if index == last and asked and asked in content:
            content = content.replace(asked, prompt)
        if message["role"] in ("system", "developer", "user"):
            content = content.replace(direction, said)
        messages.append({**message, "content": content})
    return tuple(messages[: last + 1])


def _short(context: Sequence[Message], said: str) -> tuple[Message, ...]:
    """Keep what the decision hangs on: system turns, the turn that gives the direction and its answer, the
    question.
    """
    giving = {i for i, m in enumerate(context) if m["role"] == "user" and said in str(m["content"])}
    answered = {i + 1 for i in giving if i + 1 < len(context) and context[i + 1]["role"] == "assistant"}
    kept = giving | answered | {len(context) - 1}
    return tuple(m for i, m in enumerate(context) if i in kept or m["role"] in ("system", "developer"))


def _elsewhere(context: tuple[Message, ...], without: tuple[Message, ...], said: str) -> tuple[Message, ...]:
    """Return the context with the direction behind the question, not in the system turn, or the reverse."""
    last = len(without) - 1
    place = last if said in str(context[0]["content"]) else 0
    if without[0]["role"] not in ("system", "developer") or len(without) != len(context):
        return context
    told = {**without[place], "content": f"{without[place]['content']} {said}"}
    return (*without[:place], told, *without[place + 1 :])


def _varied(
    without: tuple[Message, ...], index: int, rng: random.Random, others: Sequence[str]
) -> tuple[Message, ...]:
    """Twins in turn: as they are, under another direction, without their system turns."""
    if index % 3 == 1:
        other = rng.choice(others)
        place = 0 if without[0]["role"] == "system" and rng.random() < 0.5 else len(without) - 1
        changed = {**without[place], "content": f"{without[place]['content']} {other}"}
        return (*without[:place], changed, *without[place + 1 :])
    if index % 3 == 2:
        return tuple(m for m in without if m["role"] not in ("system", "developer"))
    return without
