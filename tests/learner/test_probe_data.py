"""The fixed items of the regression probes: well formed, varied, and known to the base model."""

import pytest

from learner.base_model import resolve_model
from learner.model import load_model
from learner.probing.material import Fact, ProbeMaterial, load_material
from learner.probing.scores import fact_matches, matches


@pytest.fixture(scope="module")
def material() -> ProbeMaterial:
    """Return the items as they ship."""
    return load_material()


def test_there_are_enough_items(material: ProbeMaterial) -> None:
    assert len(material.facts) >= 140
    assert len(material.texts) >= 16
    assert len(material.prompts) == 16


def test_answers_are_lower_case_and_not_given_by_the_question(material: ProbeMaterial) -> None:
    for fact in material.facts:
        assert fact.question.endswith("?")
        assert fact.answers, fact.question
        assert all(answer == answer.lower().strip() != "" for answer in fact.answers), fact.question
        assert not matches(fact, fact.question), f"{fact.question} holds its own answer"


def test_an_answer_counts_as_whole_words_in_any_case(material: ProbeMaterial) -> None:
    for fact in material.facts:
        for answer in fact.answers:
            assert matches(fact, f"I believe it is {answer.upper()}."), (fact.question, answer)
            assert not matches(Fact(question="?", answers=(answer,)), f"it is x{answer}x"), answer


def test_facts_are_varied(material: ProbeMaterial) -> None:
    openings = {" ".join(fact.question.split()[:4]) for fact in material.facts}
    answers = {fact.answers[0] for fact in material.facts}
    assert len(openings) >= 30
    assert len(answers) >= 0.8 * len(material.facts)


def test_passages_are_of_like_length_and_distinct(material: ProbeMaterial) -> None:
    for text in material.texts:
        assert 25 <= len(text.split()) <= 115, text[:40]
        assert text.isascii()
    assert len({text[:40] for text in material.texts}) == len(material.texts)


@pytest.mark.slow
def test_the_base_model_knows_most_facts_and_not_all(material: ProbeMaterial) -> None:
    model, tokenizer = load_model(resolve_model("smollm2", lambda what, fraction: None))
    scores = fact_matches(model, tokenizer, material.facts)
    known = sum(scores.values()) / len(scores)
    assert 0.7 <= known <= 0.85, sorted(question for question, score in scores.items() if not score)
