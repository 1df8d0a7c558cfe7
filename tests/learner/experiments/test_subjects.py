"""The user's own corrections as subjects: what is held out is never taught, and too few are refused."""

import pytest

from learner.experiments.course import Models
from learner.experiments.subjects import of_store
from learner.model import load_model
from policies.errors import InputError
from policies.example import Example

LOWER = "Write your whole answer in lowercase letters."


def correction(number: int, direction: str = LOWER, chosen: str = "it is small.") -> Example:
    return Example(
        id=f"e{number:02}",
        kind="correction",
        decision_id=f"d{number:02}",
        direction=direction,
        context=({"role": "user", "content": f"What is thing {number}? {direction}"},),
        chosen=chosen,
        origin="correction",
    )


@pytest.fixture
def models(tiny_qwen35_path) -> Models:
    base, tokenizer = load_model(tiny_qwen35_path)
    return Models(base, base, tokenizer)


def test_a_third_is_held_out_by_decision_the_same_for_every_seed(models: Models) -> None:
    stored = [correction(number) for number in range(9)]
    twice = stored[0].model_copy(update={"id": "e99"})
    found = of_store(models, [*stored, twice], 4, (0, 1))
    first, second = found[0][0], found[1][0]
    assert first.name == LOWER
    assert len(first.examples) == 6
    assert {e.decision_id for e in first.examples} == {e.decision_id for e in second.examples}
    assert first.examples != second.examples
    assert len(first.score(models.base)) == 3


def test_only_corrections_that_code_confirms_are_taught(models: Models) -> None:
    wrong = [correction(number, chosen="Not In Lowercase.") for number in range(20, 24)]
    vague = [correction(number, direction="Be nicer.") for number in range(30, 40)]
    found = of_store(models, [*(correction(n) for n in range(6)), *wrong, *vague], 4, (0,))
    assert [subject.name for subject in found[0]] == [LOWER]
    assert {e.chosen for e in found[0][0].examples} == {"it is small."}


def test_too_few_are_refused_with_what_there_is(models: Models) -> None:
    with pytest.raises(InputError, match=r"no direction in the store has 6 .*\(the most is 2\)"):
        of_store(models, [correction(0), correction(1)], 4, (0,))
