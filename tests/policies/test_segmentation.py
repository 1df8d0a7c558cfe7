from __future__ import annotations

import pytest
from conversations import talk

from policies.labelling import cases
from policies.segmentation import decision_points, segment


def test_one_per_assistant_turn_and_further_call() -> None:
    points = segment(talk("s: Be brief.", "u: Go.", "a3:", "t: done", "a: Ready."))
    assert [(p.id, len(p.context)) for p in points] == [("c2#0", 2), ("c2#1", 2), ("c2#2", 2), ("c4#0", 4)]
    assert all([d.text for d in p.directions] == ["Be brief."] for p in points)


def test_without_directions_it_exists_all_the_same() -> None:
    (point,) = segment(talk("u: What is rain?", "a:"))
    assert point.directions == ()


def test_conversations_may_be_mixed() -> None:
    one = talk("u: Answer in one line.", "a: Yes.", conversation="x")
    two = talk("u: Hello.", "a: Hi.", conversation="y")
    points = segment([one[0], two[0], two[1], one[1]])
    assert [(p.id, [t.event_id for t in p.context], len(p.directions)) for p in points] == [
        ("y1#0", ["y0"], 0),
        ("x1#0", ["x0"], 1),
    ]


def test_a_turn_that_comes_twice_counts_once() -> None:
    turns = talk("u: Hello.", "a: Hi.", "u: Bye.", "a: Bye.")
    assert segment([*turns[:2], *turns[:2], *turns[2:]]) == segment(turns)


def test_start_leaves_out_earlier_decisions_but_not_their_context() -> None:
    turns = talk("u: Always use one line.", "a: Ok.", "u: Go.", "a: Gone.")
    (point,) = segment(turns, start=2)
    assert point == segment(turns)[-1]


@pytest.mark.timeout(60)
def test_a_long_conversation() -> None:
    turns = talk("s: Be brief.", *(["u: More.", "a: More of it."] * 3_000))
    assert sum(1 for _ in decision_points(turns)) == 3_000


def test_cases_carry_what_follows_up_to_the_next_user_turn() -> None:
    turns = talk("u: Go.", "a1:", "t: done", "a: Ready.", "u: Thanks.", "a: Welcome.")
    assert [[t.event_id for t in case.following] for case in cases(turns)] == [["c2", "c3", "c4"], ["c4"], []]
