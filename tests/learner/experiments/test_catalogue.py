"""The catalogue: six experiments, each with what the verb needs."""

import pytest

from learner.experiments.catalogue import NAMES, experiment
from policies.errors import InputError


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_asks_a_question_draws_and_runs(name: str) -> None:
    found = experiment(name)
    assert found.QUESTION.endswith("?")
    assert found.PICTURES
    assert callable(found.run)
    assert callable(found.figure_of)


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="no experiment is called 'rl': there are examples, "):
        experiment("rl")
