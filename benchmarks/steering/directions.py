"""Directions of llm_steer_instruct that code can check, and one persona with pairs of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from policies.errors import ConfigError

PAIRS, QUESTIONS, LONGEST = 10, 24, 250
_FILES = ("ifeval_single_instr_format", "ifeval_single_keyword_exclude", "ifeval_single_keyword_include")


@dataclass(frozen=True)
class Direction:
    """`correct` turns the model's own answer into one that follows; `follows` checks an answer.

    `simple`: a feature of the surface, against a behaviour.
    """

    name: str
    simple: bool
    correct: Callable[[str], str]
    follows: Callable[[str], bool]


def _bullets(answer: str) -> str:
    parts = [part for part in answer.replace("\n", " ").split(". ") if part]
    return "* " + "\n* ".join(parts[:3])


def _pirate(answer: str) -> str:
    """Write as a pirate would: what a scripted author of pairs makes of a plain answer."""
    return f"Arrr, matey! {answer.replace('you', 'ye').replace('my', 'me').replace('is ', 'be ')}"


DIRECTIONS = (
    Direction("capital letters", True, str.upper, lambda a: a == a.upper() and any(map(str.isalpha, a))),
    Direction("lowercase", True, str.lower, lambda a: a == a.lower() and any(map(str.isalpha, a))),
    Direction("no comma", True, lambda a: a.replace(",", ""), lambda a: "," not in a and bool(a.strip())),
    Direction("bullet list", True, _bullets, lambda a: a.lstrip().startswith(("* ", "- "))),
    Direction(
        "pirate",
        False,
        _pirate,
        lambda a: any(word in a.lower() for word in ("arrr", "matey", "ahoy", " ye ", "aye")),
    ),
)


def questions() -> list[str]:
    """Return short prompts of llm_steer_instruct without their instructions. Needs HEEDLOOP_DATA."""
    folder = os.environ.get("HEEDLOOP_DATA")
    if folder is None:
        raise ConfigError("set HEEDLOOP_DATA to the folder that has E/llm_steer_instruct in it")
    found: dict[str, None] = {}
    for name in _FILES:
        path = Path(folder) / "E" / "llm_steer_instruct" / f"{name}.jsonl"
        for line in path.read_text().splitlines():
            found[json.loads(line)["prompt_without_instruction"]] = None
    short = [question for question in found if len(question) < LONGEST]
    return short[: PAIRS + QUESTIONS]
