from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sentences import first_sentences, split_sentences, take_out


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? four", ["One.", "Two!", "Three?", "four"]),
        ('Reply only with JSON of the form {"a": "..."}. Be brief.',
         ['Reply only with JSON of the form {"a": "..."}.', "Be brief."]),
        ('End with "Hope that helps!" Then stop.', ['End with "Hope that helps!"', "Then stop."]),
        ('Start each with "- ". Nothing else.', ['Start each with "- ".', "Nothing else."]),
        ("Dr. No ran 3.5 miles, e.g. in May. He sat.", ["Dr. No ran 3.5 miles, e.g. in May.", "He sat."]),
        ("The answer is no. It is No. 5.", ["The answer is no.", "It is No. 5."]),
        ("lower case too. it has sentences.", ["lower case too.", "it has sentences."]),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
        ("- first rule\n- second rule\n\nText", ["first rule", "second rule", "Text"]),
        ("# Heading\nText", ["Heading", "Text"]),
        ("Do this.\n```\nnot. a. sentence.\n```\nDone.", ["Do this.", "Done."]),
        ("This rule was wrapped by hand somewhere after sixty letters\nand goes on here. Next.",
         ["This rule was wrapped by hand somewhere after sixty letters\nand goes on here.", "Next."]),
        ("  \n ... \n", []),
        ("", []),
    ],
)  # fmt: skip
def test_split(text: str, sentences: list[str]) -> None:
    assert [sentence.text for sentence in split_sentences(text)] == sentences


@pytest.mark.parametrize(
    ("text", "number", "left"),
    [
        ("One. Two. Three.", 1, "One. Three."),
        ("Why is it so? Answer in French.", 1, "Why is it so?"),
        ("- a\n- b\n- c", 1, "- a\n- c"),
        ("Only this.", 0, ""),
        ("First.\n\nSecond.\n\nThird.", 1, "First.\n\nThird."),
    ],
)
def test_take_out(text: str, number: int, left: str) -> None:
    assert take_out(text, [split_sentences(text)[number]]) == left


def test_first_sentences_are_one_line() -> None:
    assert first_sentences("One\ntwo three. Four.", 1) == "One"
    assert first_sentences("One. Two. Three.", 2) == "One. Two."


@given(st.text(alphabet="ab AB.!?\"'{}()\n-*`#“”", max_size=80))
def test_sentences_stand_where_they_say(text: str) -> None:
    sentences = split_sentences(text)
    assert all(text[s.start : s.end] == s.text for s in sentences)
    assert all(a.end <= b.start for a, b in pairwise(sentences))
    take_out(text, sentences)
