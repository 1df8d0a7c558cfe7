"""Corrections beyond the number of questions: none twice, every question before any comes again."""

from itertools import islice

import pytest

from learner.experiments.corrections import Corrector, combinations
from learner.experiments.course import Models
from learner.experiments.directions import FIVE, JSON_KEY, Direction
from learner.model import load_model
from store.questions import load_questions


@pytest.mark.parametrize("direction", FIVE, ids=lambda direction: direction.name)
def test_three_hundred_differ_and_the_first_hundred_ask_different_questions(direction: Direction) -> None:
    found = list(islice(combinations(direction, 0), 300))
    asked = load_questions()
    assert len({(question, told, place) for question, _, told, place in found}) == 300
    assert {question for question, *_ in found[: len(asked.train)]} == set(asked.train)
    assert not {question for question, *_ in found} & {*asked.held_out, *asked.load}
    assert {told for _, _, told, _ in found} <= {
        wording.format(x=argument) for wording in direction.taught for argument in direction.arguments
    }


def test_they_end_when_nothing_new_is_left_and_depend_on_the_seed() -> None:
    whole = list(combinations(FIVE[1], 0))
    assert len(whole) == len(load_questions().train) * 3 * 2
    assert whole[:20] != list(islice(combinations(FIVE[1], 1), 20))
    assert whole[:20] == list(islice(combinations(FIVE[1], 0), 20))


def test_fewer_corrections_are_the_first_of_more(tiny_qwen35_path) -> None:
    base, tokenizer = load_model(tiny_qwen35_path)
    models = Models(base, base, tokenizer)
    three = Corrector(models).corrections(JSON_KEY, 3, seed=5)
    assert three == Corrector(models).corrections(JSON_KEY, 5, seed=5)[:3]
    for example in three:
        told = example.direction or ""
        assert any(told in str(message["content"]) for message in example.context)
        assert not any(told in str(message["content"]) for message in example.twin_context or ())
