"""Directions that code can check, four of llm_steer_instruct, and a persona with pairs written by hand."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from policies.errors import ConfigError

PAIRS, QUESTIONS, LONGEST = 10, 39, 250
SEEN = 48
"""Questions that directions were tried on before they were chosen: none of them is measured on."""
_FILES = ("ifeval_single_instr_format", "ifeval_single_keyword_exclude", "ifeval_single_keyword_include")


@dataclass(frozen=True)
class Direction:
    """`correct` turns the model's own answer into one that follows; without it, `pairs` is a file of pairs.

    `follows` checks an answer. `simple`: a feature of the surface, against a behaviour.
    """

    name: str
    simple: bool
    follows: Callable[[str], bool]
    correct: Callable[[str], str] | None = None
    pairs: Path | None = None


def _bullets(answer: str) -> str:
    parts = [part for part in answer.replace("\n", " ").split(". ") if part]
    return "* " + "\n* ".join(parts[:3])


def _asks(answer: str) -> bool:
    return "?" in answer and not re.search(r"[.!](?:\s|$)", answer)


def _spoken_by_a_pirate(answer: str) -> bool:
    return re.search(r"\b(?:arr+|matey|ahoy|ye|avast|aye|landlubber)\b", answer, re.IGNORECASE) is not None


DIRECTIONS = (
    Direction("capital letters", True, lambda a: a == a.upper() and any(map(str.isalpha, a)), str.upper),
    Direction("lowercase", True, lambda a: a == a.lower() and any(map(str.isalpha, a)), str.lower),
    Direction("no comma", True, lambda a: "," not in a and bool(a.strip()), lambda a: a.replace(",", "")),
    Direction("questions", True, _asks, lambda a: re.sub(r"[.!]", "?", a)),
    Direction("bullet list", True, lambda a: a.lstrip().startswith(("* ", "- ")), _bullets),
    Direction("pirate", False, _spoken_by_a_pirate, pairs=Path(__file__).with_name("pirate.jsonl")),
)


def questions() -> list[str]:
    """Return short prompts of llm_steer_instruct without their instructions, those for the pairs first.

    Needs HEEDLOOP_DATA.
    """
    folder = os.environ.get("HEEDLOOP_DATA")
    if folder is None:
        raise ConfigError("set HEEDLOOP_DATA to the folder that has E/llm_steer_instruct in it")
    found: dict[str, None] = {}
    for name in _FILES:
        path = Path(folder) / "E" / "llm_steer_instruct" / f"{name}.jsonl"
        for line in path.read_text().splitlines():
            found[json.loads(line)["prompt_without_instruction"]] = None
    short = [question for question in found if len(question) < LONGEST]
    return short[:PAIRS] + short[PAIRS + SEEN :][:QUESTIONS]
