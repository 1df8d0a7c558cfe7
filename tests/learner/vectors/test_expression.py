from __future__ import annotations

import pytest

from learner.vectors.expression import Term, parse_expression, require_name, require_scale
from policies.errors import InputError


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("A", [(1, "A")]),
        ("-A", [(-1, "A")]),
        ("A+0.5*B-C", [(1, "A"), (0.5, "B"), (-1, "C")]),
        (" 2 * a_1 - 1e-3*b.c ", [(2, "a_1"), (-0.001, "b.c")]),
        ("A+A-3*B", [(2, "A"), (-3, "B")]),
    ],
)
def test_sums_of_multiples_are_read(text: str, terms: list[tuple[float, str]]) -> None:
    assert parse_expression(text) == tuple(Term(factor, name) for factor, name in terms)


@pytest.mark.parametrize("text", ["", " ", "A B", "A+", "A**B", "1.2.3*A", "A+(B)", "0.5", "1e999*A", "A/B"])
def test_what_cannot_be_read_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_expression(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a-b", "../a", "1a", "a" * 65, "a b"])
def test_names_that_would_be_no_name_in_an_expression_or_no_file_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot name a vector"):
        require_name(name)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf"), 1e9])
def test_scales_without_sense_are_refused(scale: float) -> None:
    with pytest.raises(InputError, match="makes no sense"):
        require_scale(scale)
