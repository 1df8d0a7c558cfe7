"""Phrases by kind, from `lexicon.txt`: what is said to an agent that did wrong, and what looks like it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_LONGEST = 6  # words of a phrase
_KIND = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True)
class Phrases:
    """A list of phrases to look for in a text that is cut into words."""

    whole: frozenset[tuple[str, ...]]
    firsts: frozenset[str]
    stems: tuple[str, ...]

    def places(self, words: Sequence[str]) -> list[int]:
        """Return the places in `words` where a phrase begins."""
        found = []
        for place, word in enumerate(words):
            if word.startswith(self.stems) or (word in self.firsts and self._begins(words, place)):
                found.append(place)
        return found

    def _begins(self, words: Sequence[str], place: int) -> bool:
        ends = range(place + 1, min(place + _LONGEST, len(words)) + 1)
        return any(tuple(words[place:end]) in self.whole for end in ends)


@cache
def lexicon() -> Mapping[str, Phrases]:
    """Return the phrases of each kind, in the order of the file."""
    text = files("policies.labelling").joinpath("lexicon.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    _, *parts = _KIND.split("\n".join(lines))
    return {kind: _phrases(listed) for kind, listed in zip(parts[::2], parts[1::2], strict=True)}


def _phrases(listed: str) -> Phrases:
    phrases = [" ".join(phrase.split()) for phrase in listed.split(",")]
    stems = tuple(phrase[:-1] for phrase in phrases if phrase.endswith("*"))
    whole = frozenset(tuple(phrase.split()) for phrase in phrases if not phrase.endswith("*"))
    return Phrases(whole, frozenset(phrase[0] for phrase in whole if phrase), stems)
