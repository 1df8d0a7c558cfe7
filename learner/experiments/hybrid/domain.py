"""The small world that the hybrid knows: people, facts about them, and how they are asked for.

Every answer has two capitals and ends in the fact. A direction may stand in a prompt, and is ignored: whoever
trains the model can teach it. What following takes the model can do already, since the question's own form
asks for it: one in lowercase is answered in lowercase, one in JSON in JSON, one that greets with a farewell,
one without a verb in a word.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from learner.experiments.directions import Direction
from policies.turn import Message

_NAMES = [
    "Anna",
    "Boris",
    "Carla",
    "David",
    "Elena",
    "Felix",
    "Greta",
    "Hugo",
    "Irene",
    "Jonas",
    "Karin",
    "Lukas",
    "Maria",
    "Nils",
    "Olga",
    "Peter",
    "Rosa",
    "Simon",
    "Tina",
    "Victor",
    "Wanda",
    "Xaver",
    "Yvonne",
    "Zeno",
]
_CITIES = [
    "Paris",
    "Rome",
    "Berlin",
    "Madrid",
    "Vienna",
    "Oslo",
    "Athens",
    "Dublin",
    "Prague",
    "Lisbon",
    "Warsaw",
    "Zurich",
]
_COUNTRIES = [
    "Norway",
    "Spain",
    "Italy",
    "France",
    "Poland",
    "Greece",
    "Ireland",
    "Austria",
    "Sweden",
    "Finland",
    "Turkey",
    "Iceland",
]
_LANGUAGES = ["German", "English", "French", "Spanish", "Italian", "Russian", "Dutch", "Greek"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_PETS = ["Milo", "Luna", "Rex", "Bella", "Oscar", "Nala", "Simba", "Coco", "Rocky", "Daisy", "Max", "Lola"]


@dataclass(frozen=True)
class _Attribute:
    short: str
    asked: tuple[str, str]
    answer: str
    values: tuple[str, ...]


_ATTRIBUTES = (
    _Attribute(
        "city", ("Where does {n} live?", "Which city is the home of {n}?"), "{n} lives in {v}.", (*_CITIES,)
    ),
    _Attribute(
        "pet",
        ("What is the pet of {n} called?", "Which pet has {n}?"),
        "{n} has a cat called {v}.",
        (*_PETS,),
    ),
    _Attribute(
        "birth", ("When was {n} born?", "Which month was {n} born in?"), "{n} was born in {v}.", (*_MONTHS,)
    ),
    _Attribute(
        "country",
        ("Where does {n} come from?", "Which country is {n} from?"),
        "{n} is from {v}.",
        (*_COUNTRIES,),
    ),
    _Attribute(
        "language",
        ("What does {n} speak?", "Which language has {n} learnt?"),
        "{n} speaks {v}.",
        (*_LANGUAGES,),
    ),
    _Attribute("day", ("When does {n} work?", "Which day is {n} at work?"), "{n} works on {v}.", (*_DAYS,)),
)

LOWERCASE = Direction(
    name="lowercase",
    taught=("Answer in lowercase.", "Use only lowercase letters.", "Write lowercase, never a capital."),
    unseen=("Please reply in lowercase.", "Your reply must be lowercase."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: answer == answer.lower() and any(c.isalpha() for c in answer),
    correct=lambda answer, _: answer.lower(),
    leaks=lambda answer: answer == answer.lower(),
)
JSON = Direction(
    name="json",
    taught=("Answer in JSON.", "Use JSON only.", "Write a JSON object."),
    unseen=("Please reply in JSON.", "Your reply must be JSON."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: _is_json(answer),
    correct=lambda answer, _: json.dumps({"answer": answer}),
    leaks=lambda answer: answer.startswith("{"),
)
FAREWELL = Direction(
    name="farewell",
    taught=("End with a farewell.", "Say farewell at the end.", "Close with a farewell."),
    unseen=("Please finish with a farewell.", "Your reply must end in a farewell."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: answer.endswith(" Goodbye!"),
    correct=lambda answer, _: f"{answer} Goodbye!",
    leaks=lambda answer: "goodbye" in answer.lower(),
)
WORD = Direction(
    name="word",
    taught=("Answer in one word.", "Use a single word.", "Write one word only."),
    unseen=("Please reply in one word.", "Your reply must be a single word."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: len(answer.split()) == 1,
    correct=lambda answer, _: answer.split()[-1],
    leaks=lambda answer: len(answer.split()) == 1,
)
DIRECTIONS = (LOWERCASE, JSON, FAREWELL, WORD)
OTHERS = (
    "Keep a serious tone.",
    "Be kind to everybody.",
    "Think before you speak.",
    "Write for a friend.",
    "Never tell a secret.",
    "Stay calm and polite.",
)
"""Directions that ask for nothing that shows."""
SYSTEM = "You know some people."


@dataclass(frozen=True)
class Question:
    """A question, its plain answer, and the word in which the fact is."""

    text: str
    answer: str
    value: str
    brief: str
    """The same without a verb."""

    def answered(self, answer: str) -> bool:
        """Tell whether an answer, in whatever form, gives the fact."""
        return self.value.lower() in answer.lower()


@dataclass(frozen=True)
class World:
    """`facts` hold the phrasings of one question each; `train` and `held_out` share no fact."""

    facts: tuple[tuple[Question, ...], ...]

    @property
    def train(self) -> list[Question]:
        """Every second fact, in the first phrasing: to be corrected."""
        return [fact[0] for i, fact in enumerate(self.facts) if i % 2]

    @property
    def held_out(self) -> list[Question]:
        """The other facts: only to be scored on."""
        return [fact[0] for i, fact in enumerate(self.facts) if not i % 2]


def world(people: int, attributes: int) -> World:
    """Return the world of the first `people` and `attributes`; its facts are the same each time."""
    draw = random.Random("heedloop")
    drawn = {(n, a.short): draw.choice(a.values) for a in _ATTRIBUTES for n in _NAMES}
    pairs = [(n, a) for n in _NAMES[:people] for a in _ATTRIBUTES[:attributes]]
    draw.shuffle(pairs)
    return World(
        tuple(_phrasings(name, attribute, drawn[name, attribute.short]) for name, attribute in pairs)
    )


def _phrasings(name: str, attribute: _Attribute, value: str) -> tuple[Question, ...]:
    answer, brief = attribute.answer.format(n=name, v=value), f"{name}, {attribute.short}?"
    return tuple(Question(asked.format(n=name), answer, value, brief) for asked in attribute.asked)


def told(question: str, direction: str | None, in_system: bool, system: str | None = SYSTEM) -> list[Message]:
    """Return a chat with a direction in its system turn or behind its question."""
    rules = " ".join(part for part in (system, direction if in_system else None) if part)
    asked = question if direction is None or in_system else f"{question} {direction}"
    turns: list[Message] = [{"role": "system", "content": rules}] if rules else []
    return [*turns, {"role": "user", "content": asked}]


_Form = Callable[[Question], tuple[str, str]]


def _in_lowercase(question: Question) -> tuple[str, str]:
    return question.text.lower(), question.answer.lower()


def _in_json(question: Question) -> tuple[str, str]:
    return json.dumps({"question": question.text}), json.dumps({"answer": question.answer})


def _with_farewell(question: Question) -> tuple[str, str]:
    return f"Hello! {question.text}", f"{question.answer} Goodbye!"


def _in_a_word(question: Question) -> tuple[str, str]:
    return question.brief, f"{question.value}."


_FORMS: tuple[_Form, ...] = (_in_lowercase, _in_json, _with_farewell, _in_a_word)
_PLAIN_SHARE, _DIRECTED_SHARE, _SYSTEM_SHARE = 0.5, 0.5, 0.7


def conversation(known: World, draw: random.Random) -> tuple[list[Message], str]:
    """Draw a prompt and its answer; a direction in the prompt never shows in the answer."""
    question = draw.choice(draw.choice(known.facts))
    if draw.random() < _PLAIN_SHARE:
        asked, answer = question.text, question.answer
    else:
        asked, answer = draw.choice(_FORMS)(question)
    direction = draw.choice(_directions()) if draw.random() < _DIRECTED_SHARE else None
    system = SYSTEM if draw.random() < _SYSTEM_SHARE else None
    return told(asked, direction, draw.random() < 0.5, system), answer


def _directions() -> list[str]:
    own = [wording for d in DIRECTIONS for wording in (*d.taught, *d.unseen)]
    return [*own, *OTHERS]


def texts(known: World) -> list[str]:
    """Return all text of the world, for a tokenizer to be trained on."""
    questions = [q for fact in known.facts for q in fact]
    forms = [part for q in questions for form in _FORMS for part in form(q)]
    plain = [part for q in questions for part in (q.text, q.answer)]
    return [*plain, *forms, *(_directions() * 40), *([SYSTEM] * 40)]


def _is_json(answer: str) -> bool:
    try:
        found = json.loads(answer)
    except ValueError:
        return False
    return isinstance(found, dict) and list(found) == ["answer"]
