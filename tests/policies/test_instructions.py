from __future__ import annotations

from typing import Any

import pytest

from policies.constraints import constraint_from_instruction
from policies.constraints.instructions import INSTRUCTION_IDS, running_sentences


def detect(text: str) -> str | None:
    """Stand in for language detection with a rule that a test can see through."""
    return None if not text.strip() else "fr" if " le " in text.lower() else "en"


INSTRUCTIONS: list[tuple[str, dict[str, Any], str, str]] = [
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"},
     "I'm at the NASA gate.", "I am at a gate."),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "less than"},
     "I am at a gate.", "I am at the NASA gate."),
    ("change_case:english_capital", {}, "ALL IS WELL.", "VOICI LE CHAT."),
    ("change_case:english_lowercase", {}, "all is well.", "All is well."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why is it so?"}, "why is it so? Because.",
     "Because."),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\n******\ntwo"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np.s. One more.",
     "Bye. P.S one more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S More.",
     "Bye.\nP.S. More."),
    ("detectable_format:constrained_response", {}, "So: My answer is no.", "So: my answer is no."),
    ("detectable_format:json_format", {}, '```json\n["a"]\n```', "a: 1"),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
     "SECTION 1\na\nSECTION 2\nb", "Section 1\na\nSection 2\nb"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n-b", "* a\n* b\n* c"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* **b**", "*a* ** **"),
    ("detectable_format:title", {}, "<<A>>", "<A>"),
    ("keywords:existence", {"keywords": ["cat", "dog"]}, "Categories of dogs", "A cat"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "Categories", "A Cat."),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "at least"},
     "Cat categories", "cat"),
    ("keywords:frequency", {"keyword": "cat", "frequency": 1, "relation": "less than"}, "dog", "cats"),
    ("keywords:letter_frequency", {"letter": "T", "let_frequency": 2, "let_relation": "at least"},
     "Tat", "at"),
    ("language:response_language", {"language": "fr"}, "voici le chat", "the cat"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "and"},
     "One.\n\n'And' two.", "One.\n\nAndy two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"},
     "Dr. No came in\nand sat. He left.", "One. Two. Three."),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "don't go", "do go"),
    ("punctuation:no_comma", {}, "a、b", "a, b"),
    ("startend:end_checker", {"end_phrase": "That is all."}, '"Well. that is ALL."', "That is all. Bye."),
    ("startend:quotation", {}, '"a"', "“a”"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), INSTRUCTIONS)
def test_check(name: str, arguments: dict[str, Any], good: str, bad: str) -> None:
    constraint = constraint_from_instruction(name, arguments, detect)
    assert constraint is not None
    assert constraint.check(good) is True
    assert constraint.check(bad) is False


def test_every_instruction_kind_is_tested() -> None:
    assert len(INSTRUCTION_IDS) == 25
    assert {name for name, *_ in INSTRUCTIONS} == INSTRUCTION_IDS


def test_what_is_unknown_is_none() -> None:
    assert constraint_from_instruction("keywords:rhymes", {}) is None
    assert constraint_from_instruction("language:response_language", {"language": "fr"}) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("A verse\nof two lines. And another.", 2),
        ("E.g. this, by J. K. Row, etc. and so on.", 1),
        ("Bye.\n\nP.S. One more.", 3),
        ('He said "no." She left.', 2),
        ("", 0),
    ],
)
def test_running_sentences(text: str, count: int) -> None:
    assert len(running_sentences(text)) == count
