"""A direction in other words is the same demand."""

from __future__ import annotations

import random
import re

import pytest

from policies.constraints import read_constraints
from policies.restating import _STATEMENTS, restated, statements

ARGUMENTS = {
    "keys": ("note",),
    "phrase": "All the best!",
    "count": 3,
    "maximum": 8,
    "minimum": 8,
    "words": ("rain",),
}


@pytest.mark.parametrize("template", [one for kind in _STATEMENTS.values() for one in kind])
def test_every_sentence_is_read_as_one_constraint_that_it_is_a_statement_of(template: str) -> None:
    said = template.format(**ARGUMENTS)
    (constraint,) = read_constraints(said).constraints
    assert template in _STATEMENTS[constraint.kind]
    assert said in statements(constraint)


@pytest.mark.parametrize(
    "direction",
    [
        'Answer in JSON, with the single key "reply".',
        "Use only lowercase letters, never a capital.",
        "ANSWER IN CAPITAL LETTERS ONLY.",
        'End your answer with the phrase "Stay curious!"',
        'Give exactly 4 bullet points and nothing else, each beginning with "- ".',
        "Use at most 12 words in your answer.",
        "Answer in one sentence.",
        'Never use the word "very".',
    ],
)
def test_other_words_are_read_as_the_same_constraint(direction: str) -> None:
    said = {restated(direction, random.Random(seed)) for seed in range(20)} - {direction}
    assert len(said) >= 2
    assert {read_constraints(one).constraints for one in said} == {read_constraints(direction).constraints}


@pytest.mark.parametrize(
    "direction", ["Be nice to my mother.", "Answer in lowercase, in at most 9 words.", "Write a haiku."]
)
def test_what_is_not_one_constraint_stays_as_it_was_said(direction: str) -> None:
    assert restated(direction, random.Random(0)) == direction


def test_one_of_a_thing_is_not_said_in_the_plural() -> None:
    for direction in ("Answer in one sentence.", "Reply with one word.", "Give exactly 1 bullet point."):
        for constraint in read_constraints(direction).constraints:
            assert not [one for one in statements(constraint) if re.search(r"\b1 [a-z ]+s\b", one)]
