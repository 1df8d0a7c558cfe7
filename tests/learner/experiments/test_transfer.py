"""What is said of transfer: better, worse, not measurable, and nothing where nothing was learned."""

from learner.experiments.harm import Change
from learner.experiments.transfer import answer

NONE, UP, DOWN = Change(0.0, (-0.1, 0.1)), Change(0.2, (0.1, 0.3)), Change(-0.2, (-0.3, -0.1))


def said(taught: Change, choice: Change, other: Change) -> str:
    found = {"taught": taught, "choice": choice, "other/lowercase": other}
    return answer(found, ["choice", "other/lowercase"], choice)


def test_the_answer_is_as_the_intervals_say() -> None:
    assert said(UP, NONE, NONE).startswith("Not measurable at this size.")
    assert said(UP, NONE, UP).startswith("Yes, in part.")
    assert said(UP, DOWN, NONE).startswith("Yes, for the worse.")
    assert said(UP, DOWN, UP).startswith("Yes, both ways.")


def test_the_parts_are_listed_with_their_intervals() -> None:
    text = said(UP, DOWN, UP)
    assert "Better: lowercase (not taught) +0.200 [+0.100, +0.300]." in text
    assert "Worse: multiple choice -0.200 [-0.300, -0.100]." in text


def test_where_nothing_was_learned_nothing_is_said_of_transfer() -> None:
    assert "there is nothing to transfer" in said(NONE, UP, UP)
