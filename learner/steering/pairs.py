"""Contrast pairs: one context, an answer that shows the behaviour, and one that does not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from learner.tokens import answer_ids, prompt_of
from policies.errors import InputError
from policies.example import Example
from policies.turn import Message

LEAST, MOST = 3, 256
_LONGEST, _NAMED = 1024, 8


@dataclass(frozen=True)
class Pair:
    """`messages` without the direction, and both answers."""

    messages: tuple[Message, ...]
    followed: str
    ignored: str


@dataclass(frozen=True)
class PairIds:
    """A pair in token ids: the prompt with the assistant's header, and both answers."""

    prompt: tuple[int, ...]
    followed: tuple[int, ...]
    ignored: tuple[int, ...]


def from_examples(examples: Sequence[Example]) -> list[Pair]:
    """Make pairs of corrected decisions; where known, the context is the one without the direction."""
    return [
        Pair(example.twin_context or example.context, example.chosen, example.rejected)
        for example in examples
        if example.chosen and example.rejected
    ]


def directions_with(text: str, corrections: Sequence[Example]) -> tuple[str, ...]:
    """Return the directions of corrections that contain `text`, whatever the case, the most frequent first.

    One that is `text` itself is taken alone. Raises InputError, naming those that there are, for none.
    """
    counts = Counter(example.direction for example in corrections if example.direction is not None)
    wanted = text.strip().casefold()
    every = [direction for direction, _ in counts.most_common()]
    whole = [direction for direction in every if direction.casefold() == wanted]
    found = whole or [direction for direction in every if wanted in direction.casefold()]
    if not found:
        known = ", ".join(map(repr, every[:_NAMED])) or "none"
        raise InputError(f"no stored correction has a direction with {text!r} in it (there are: {known})")
    return tuple(found)


def from_corrections(text: str, corrections: Sequence[Example]) -> tuple[list[Pair], tuple[str, ...]]:
    """Make pairs of the newest corrections of the directions with `text`; return those directions, too.

    Raises InputError for no such direction, or too few corrections with a rejected answer.
    """
    directions = directions_with(text, corrections)
    about = [example for example in corrections if example.direction in directions]
    pairs = from_examples(about)
    lacking = f"{len(about) - len(pairs)} of {len(about)} corrections have no rejected answer"
    return list(require_enough(pairs[-MOST:], f"--direction {text!r} ({lacking})")), directions


def from_file(path: Path) -> list[Pair]:
    """Read JSON lines of {"prompt" or "messages", "followed", "ignored"}. Raises InputError with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return [_pair(f"{path}:{n}", line) for n, line in enumerate(lines, 1) if line.strip()]


def require_enough(pairs: Sequence[Pair], source: str) -> Sequence[Pair]:
    """Return the pairs. Raises InputError, naming their source, for too few, or too many."""
    if not LEAST <= len(pairs) <= MOST:
        raise InputError(f"{source}: {len(pairs)} contrast pairs; {LEAST} to {MOST} are needed")
    return pairs


def ids_of(tokenizer: PreTrainedTokenizerBase, pair: Pair, most: int) -> PairIds:
    """Return a pair in ids, the answers cut to `most` tokens."""
    prompt = prompt_of(tokenizer, list(pair.messages), _LONGEST).ids
    followed, ignored = (answer_ids(tokenizer, text)[:most] for text in (pair.followed, pair.ignored))
    return PairIds(tuple(prompt), tuple(followed), tuple(ignored))


def _pair(place: str, line: str) -> Pair:
    try:
        row: Any = json.loads(line)
        texts = row["followed"], row["ignored"]
        messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
        told = all(isinstance(m["role"], str) and isinstance(m["content"], str) for m in messages)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{place}: not {{"prompt" or "messages", "followed", "ignored"}} ({error})'
        ) from error
    if not told or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(
            f"{place}: `followed` and `ignored` must be texts, and messages have role and content"
        )
    return Pair(tuple(messages), *texts)
