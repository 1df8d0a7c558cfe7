from __future__ import annotations

import pytest
from conversations import talk

from policies.acceptance import accepted_answer, written_out
from policies.constraints import read_constraints

ANSWER = "Rain is water that falls from the clouds, and it falls in drops."
RIGHT = "rain is water that falls from the clouds."
LOWERCASE = read_constraints("Answer in lowercase.").constraints
COMPLAINT = "u: I said lowercase."


def found(*lines: str, demands: bool = True) -> str | None:
    return accepted_answer(talk(*lines), ANSWER, LOWERCASE if demands else ())


@pytest.mark.parametrize(
    "lines",
    [
        (COMPLAINT, f"a: {RIGHT}", "u: Thanks!"),
        (COMPLAINT, f"a: {RIGHT}", "u: And what is snow?"),  # it verifiably keeps the demand
        (COMPLAINT, f"a: Sorry about that! Here is the corrected version:\n\n{RIGHT}", "u: perfect"),
        (COMPLAINT, f"a: You're right, my apologies. {RIGHT}", "u: ok, great"),
    ],
)
def test_the_next_answer_that_the_user_lets_stand(lines: tuple[str, ...]) -> None:
    assert found(*lines) == RIGHT


@pytest.mark.parametrize(
    "lines",
    [
        (COMPLAINT, f"a: {RIGHT}"),  # nobody has seen it yet
        (COMPLAINT, f"a: {RIGHT}", "u: No, still wrong."),
        (COMPLAINT, f"a: {RIGHT}", "u: Great, but you forgot the second part."),
        (COMPLAINT, f"a: {ANSWER.title()}", "u: Thanks!"),  # breaks the demand all the same
        (COMPLAINT, "a: sorry about that!", "u: Thanks!"),
        (COMPLAINT, "a: snow is frozen and white.", "u: Thanks!"),  # about something else
        (COMPLAINT, f"a1: {RIGHT}", "t: ok", "a: done", "u: Thanks!"),
        (f"u: {'I said lowercase, and more. ' * 30}", f"a: {RIGHT}", "u: Thanks!"),
        (f"a: {RIGHT}", "u: Thanks!"),
        (),
    ],
)
def test_in_doubt_there_is_none(lines: tuple[str, ...]) -> None:
    assert found(*lines) is None


def test_what_no_program_can_check_needs_praise() -> None:
    assert found(COMPLAINT, f"a: {RIGHT}", "u: And what is snow?", demands=False) is None
    assert found(COMPLAINT, f"a: {RIGHT}", "u: That's better, exactly it.", demands=False) == RIGHT


@pytest.mark.parametrize(
    ("complaint", "answer"),
    [
        ('No, it should be: "Water falls from clouds."', "Water falls from clouds."),
        ("No. The correct answer is:\n```json\n{\"a\": 1}\n```", '{"a": 1}'),
        ('Wrong, say "the rain comes down" instead.', "the rain comes down"),
        ('It should say "rain".', None),
        ('You wrote "water falls from the sky" and I asked for one line.', None),
        ('Why did you write "water falls from the sky"?', None),
        ('You say "water falls from the sky".', None),
        ('Never say "water falls from the sky".', None),
        ("It should be shorter.", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_answer_that_a_complaint_writes_out(complaint: str, answer: str | None) -> None:
    assert written_out(complaint) == answer
