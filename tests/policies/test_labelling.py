from __future__ import annotations

import pytest
from conversations import correction, last_decision, talk

from policies.label import Label
from policies.labelling import (
    Case,
    ConstraintLabeller,
    CorrectionLabeller,
    Labeller,
    ReactionLabeller,
    cases,
    fuse,
    judge,
    match_direction,
)
from policies.segmentation import segment

LABELLERS: tuple[Labeller, ...] = (CorrectionLabeller(), ConstraintLabeller(), ReactionLabeller())


def first(*lines: str) -> Case:
    return next(cases(talk(*lines)))


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (("u: Answer in lowercase.", "a: fine."), "followed"),
        (("u: Answer in lowercase.", "a: Fine."), "ignored"),
        (("u: Answer in lowercase if you can.", "a: Fine."), "unknown"),
        (("u: Be polite.", "a: Fine."), "unknown"),
        (("u: What is rain?", "a: Water."), "unknown"),
        (("u: Answer in lowercase.", "a1: Let me look."), "unknown"),
        (("u: Answer in lowercase.", "a:"), "unknown"),
    ],
)
def test_constraint(lines: tuple[str, ...], verdict: str) -> None:
    judgement = judge(first(*lines), LABELLERS)
    assert judgement.verdict == verdict
    assert len(judgement.labels) == 1


def test_a_half_read_direction_is_followed_with_doubt_and_ignored_without() -> None:
    said = "u: Answer in lowercase and mention the weather."
    (kept,) = ConstraintLabeller().vote(first(said, "a: fine."))
    (broken,) = ConstraintLabeller().vote(first(said, "a: Fine."))
    assert (kept.verdict, kept.confidence < 0.9) == ("followed", True)
    assert (broken.verdict, broken.confidence > 0.9) == ("ignored", True)
    assert "letter_case" in broken.evidence


@pytest.mark.parametrize(
    ("reaction", "verdict", "sure"),
    [
        ("I said answer in one line!", "ignored", True),
        ("Again, in one line please.", "ignored", True),
        ("That's not what I asked for.", "ignored", False),
        ("You forgot to follow my instructions.", "ignored", False),
        ("Thanks, perfect.", "followed", False),
        ("Sorry, my mistake, I meant another file. I said the wrong thing.", "unknown", False),
        ("Great, but it is too long.", "unknown", False),
        ("Can you check the invoice again?", "unknown", False),
        ("And what is snow?", "unknown", False),
    ],
)
def test_reaction(reaction: str, verdict: str, sure: bool) -> None:
    case = first("u: What is rain? Answer in one line.", "a: Water.\nIt falls.", f"u: {reaction}")
    votes = ReactionLabeller().vote(case)
    assert [vote.verdict for vote in votes] == ([] if verdict == "unknown" else [verdict])
    assert all((vote.confidence >= 0.9) is sure for vote in votes)


def test_a_reaction_is_on_the_last_answer_before_it() -> None:
    turns = talk("u: Answer in one line.", "a1:", "t: ok", "a: One.\nTwo.", "u: I said in one line.")
    votes = [ReactionLabeller().vote(case) for case in cases(turns)]
    assert [len(v) for v in votes] == [0, 1]


CORRECTED = ("s: Be polite. Answer in lowercase.", "u: What is rain?", "a: Water.")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"direction": "answer in lowercase"}, ["Answer in lowercase."]),
        ({"direction": "Use only lowercase letters."}, ["Answer in lowercase."]),
        ({"corrected": "water."}, ["Answer in lowercase."]),
        ({"corrected": "Water, Madam."}, [None]),
        ({"direction": "Answer as a JSON object with the single key \"a\"."}, ["k1/0"]),
        ({"verdict": "followed"}, ["Be polite.", "Answer in lowercase."]),
    ],
)  # fmt: skip
def test_correction_names_a_direction(fields: dict[str, str], named: list[str | None]) -> None:
    decision = last_decision(*CORRECTED)
    texts = {d.id: d.text for d in decision.directions}
    votes = CorrectionLabeller().vote(Case(decision, (), (correction(**fields),)))
    assert [texts.get(v.direction_id or "", v.direction_id) for v in votes] == named
    assert {v.confidence for v in votes} == {1.0}


def test_a_stated_direction_comes_with_the_judgement() -> None:
    said = correction(direction="Answer in French.")
    judgement = judge(Case(last_decision(*CORRECTED), (), (said,)), LABELLERS)
    assert [d.text for d in judgement.stated] == ["Answer in French."]
    assert judgement.labels[-1].direction_id == judgement.stated[0].id


def test_the_last_correction_counts() -> None:
    both = (correction("ignored", event_id="k1"), correction("followed", event_id="k2"))
    judgement = judge(Case(last_decision("u: Answer in lowercase.", "a: Fine."), (), both), LABELLERS)
    assert [(label.verdict, label.evidence) for label in judgement.labels] == [("followed", "correction k2")]


def test_match_direction_is_not_fooled_by_likeness() -> None:
    directions = last_decision("s: Reply in fewer than 8 words.", "u: Hi", "a: Hi").directions
    assert match_direction("Reply in fewer than 80 words.", directions) is None
    assert match_direction("Keep it under 8 words.", directions) == directions[0]
    assert match_direction("", directions) is None


def vote(labeller: str, verdict: str, confidence: float, direction: str | None) -> Label:
    return Label.model_validate(
        {
            "decision_id": "c1#0",
            "direction_id": direction,
            "verdict": verdict,
            "confidence": confidence,
            "labeller": labeller,
        }
    )


@pytest.mark.parametrize(
    ("votes", "fused"),
    [
        ([("correction", "followed", 1.0), ("constraint", "ignored", 0.99)], ("followed", "correction", 1.0)),
        (
            [("reaction", "ignored", 0.92), ("constraint", "followed", 0.97)],
            ("followed", "constraint", 0.8361),
        ),
        ([("reaction", "ignored", 0.7), ("constraint", "ignored", 0.9)], ("ignored", "constraint", 0.921)),
        ([("judge", "ignored", 0.9), ("reaction", "followed", 0.5)], ("unknown", "none", 0.0)),
        ([("constraint", "unknown", 0.0)], ("unknown", "none", 0.0)),
        ([], ("unknown", "none", 0.0)),
    ],
)
def test_fusion(votes: list[tuple[str, str, float]], fused: tuple[str, str, float]) -> None:
    decision = last_decision("u: Be polite.", "a: Fine.")
    (label,) = fuse(decision, [vote(*v, direction=decision.directions[0].id) for v in votes])
    assert (label.verdict, label.labeller, label.confidence) == fused


def test_one_label_per_direction_and_null_where_none_is_known() -> None:
    (none,) = fuse(last_decision("u: Hi.", "a: Hi."), [])
    assert (none.direction_id, none.verdict) == (None, "unknown")
    decision = segment(talk("s: Be brief. Be polite.", "u: Hi.", "a: Hi."))[0]
    labels = fuse(decision, [vote("correction", "ignored", 1.0, None)])
    assert [label.direction_id for label in labels] == ["c0/0", "c0/1", None]
