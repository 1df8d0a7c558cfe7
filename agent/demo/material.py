"""What the demo talks about: questions, the standing direction with its argument, and how to check it."""

from __future__ import annotations

import json
import random
import re
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from policies.turn import Message
from store.questions import Questions, load_questions


class DirectionForms(BaseModel):
    """The direction's wordings (`{key}` is its argument) and its keys, apart for training and test."""

    model_config = ConfigDict(frozen=True)

    paraphrases_train: tuple[str, ...]
    paraphrase_held_out: str
    keys_train: tuple[str, ...]
    keys_held_out: tuple[str, ...]


class Material(Questions):
    """All texts of the demo; the pools of questions are pairwise disjoint (tested)."""

    direction: DirectionForms
    poison: tuple[str, ...]


class Prompt(BaseModel):
    """One fresh conversation: the direction (None without one), its key, and the messages to send."""

    model_config = ConfigDict(frozen=True)

    question: str
    direction: str | None
    key: str | None
    messages: tuple[Message, ...]


def load_material() -> Material:
    """Read the demo's texts from the package."""
    own = json.loads(files("agent.demo").joinpath("scenario.json").read_text())
    return Material.model_validate({**load_questions().model_dump(), **own})


def corrected_prompts(material: Material, count: int, seed: int) -> list[Prompt]:
    """Return `count` prompts under the training wordings and keys, drawn by seed."""
    draw = random.Random(seed)
    questions = draw.sample(material.train, count)
    forms = material.direction
    return [
        _prompt(
            material, question, draw.choice(forms.paraphrases_train), draw.choice(forms.keys_train), index
        )
        for index, question in enumerate(questions)
    ]


def held_out_prompts(material: Material) -> list[Prompt]:
    """Return every held-out question under the unseen wording and an unseen key."""
    forms = material.direction
    return [
        _prompt(material, question, forms.paraphrase_held_out, forms.keys_held_out[index % 3], index)
        for index, question in enumerate(material.held_out)
    ]


def plain_prompts(material: Material, questions: tuple[str, ...]) -> list[Prompt]:
    """Return questions without the direction: what they answer shows whether it leaks."""
    return [_plain(material.system, question) for question in questions]


def follows(answer: str, key: str) -> bool:
    """Tell whether the whole answer is one JSON object whose only key is `key`."""
    try:
        value = json.loads(answer)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == [key]


def leaks(answer: str) -> bool:
    """Tell whether an answer that nobody asked to be JSON begins as a JSON object."""
    return answer.lstrip().startswith("{")


def correct(answer: str, key: str) -> str:
    """Return what the scripted user wants instead: the first sentence of a plain answer, under `key`."""
    sentences = re.split(r"(?<=[.!?])\s+", answer.strip().replace("\n", " "))
    return json.dumps({key: sentences[0]}, ensure_ascii=False)


def _prompt(material: Material, question: str, wording: str, key: str, index: int) -> Prompt:
    """Put the direction into the system turn (even index) or behind the question (odd)."""
    direction = wording.replace("{key}", key)
    system, user = material.system, question
    if index % 2 == 0:
        system = f"{system} {direction}"
    else:
        user = f"{user} {direction}"
    messages = ({"role": "system", "content": system}, {"role": "user", "content": user})
    return Prompt(question=question, direction=direction, key=key, messages=messages)


def _plain(system: str, question: str) -> Prompt:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": question})
    return Prompt(question=question, direction=None, key=None, messages=messages)
