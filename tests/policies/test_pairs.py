from __future__ import annotations

from conversations import correction, last_decision, talk

from policies.decision import DecisionPoint
from policies.example import Example
from policies.labelling import (
    Case,
    ConstraintLabeller,
    CorrectionLabeller,
    ReactionLabeller,
    cases,
    judge,
)
from policies.messages import CorrectionPayload
from policies.pairs import correction_example, followed_example, general_example, with_accepted
from policies.segmentation import segment

BASE = "You are a helpful assistant. Answer in one or two short sentences."
JSON = 'Answer as a JSON object with the single key "reply".'


def example(decision: DecisionPoint, said: CorrectionPayload | None = None) -> Example | None:
    case = Case(decision, (), (said,) if said else ())
    judgement = judge(case, (CorrectionLabeller(), ConstraintLabeller(), ReactionLabeller()))
    return correction_example("e1", decision, judgement.labels, correction=said, stated=judgement.stated)


def test_the_corrected_text_comes_first() -> None:
    decision = last_decision(f"s: {BASE}", f"u: What is rain? {JSON}", "a: Water that falls.")
    made = example(decision, correction(direction=JSON, corrected='{"reply": "Water."}', author="ann"))
    assert made is not None
    assert (made.chosen, made.rejected) == ('{"reply": "Water."}', "Water that falls.")
    assert (made.origin, made.author, made.state) == ("correction", "ann", "ready")
    assert (made.direction, made.decision_id) == (JSON, "c2#0")
    assert [m["content"] for m in made.context] == [BASE, f"What is rain? {JSON}"]
    assert made.twin_context is not None
    assert [m["content"] for m in made.twin_context] == [BASE, "What is rain?"]


def test_complaint_about_nobody_knows_what_teaches_nothing() -> None:
    """No direction that it could be about, and no right answer: nothing could confirm what is learned."""
    turns = talk("u: What is rain?", "a: My cousin sells cars.", "u: what are you even talking about?")
    (case,) = cases(turns)
    judgement = judge(case, (ReactionLabeller(),))
    assert judgement.labels[0].verdict == "ignored"
    assert judgement.labels[0].confidence >= 0.9
    assert correction_example("e1", case.decision, judgement.labels) is None


def test_the_twin_lacks_all_sentences_that_the_correction_names() -> None:
    said = 'Give exactly 2 bullet points and nothing else. Start each with "- ".'
    for fields in ({"direction": said, "corrected": "- Water.\n- Clouds."}, None):
        decision = last_decision(
            f"s: {BASE}", f"u: What is rain? {said}", "a: Water that falls from the clouds."
        )
        made = example(decision, correction(**fields) if fields else None)
        assert made is not None
        assert made.twin_context is not None
        assert [m["content"] for m in made.twin_context] == [BASE, "What is rain?"]


def later_example(*lines: str) -> Example | None:
    """Make the example of the first decision of a conversation, with the turns behind it."""
    turns = talk(*lines)
    first = segment(turns)[0]
    place = turns.index(first.turn)
    labels = ConstraintLabeller().vote(Case(first))
    return correction_example("e1", first, labels, later=turns[place + 1 :])


def test_else_the_next_answer_that_the_user_let_stand() -> None:
    made = later_example(
        "u: Always answer in lowercase. What is rain?",
        "a: Rain is water that falls.",
        "u: I said lowercase.",
        "a: Sorry! rain is water that falls down.",
        "u: thanks",
    )
    assert made is not None
    assert (made.chosen, made.origin, made.state) == ("rain is water that falls down.", "accepted", "ready")


def test_an_answer_accepted_later_completes_the_example() -> None:
    lines = [
        "u: Talk like a pirate. What is rain?",
        "a: Rain is water that falls.",
        "u: You didn't talk like a pirate!",
        "a: Arr! Rain be water that falls, matey.",
    ]
    decision = segment(talk(*lines))[0]
    said = correction(direction="Talk like a pirate.")
    waiting = example(decision, said)
    assert waiting is not None
    assert waiting.state == "needs_pair"
    assert with_accepted(waiting, talk(*lines)[2:]) is None  # nobody has seen it yet
    made = with_accepted(waiting, talk(*lines, "u: Perfect!")[2:])
    assert made is not None
    assert (made.chosen, made.origin, made.state) == (lines[3][3:], "accepted", "ready")
    written = example(decision, correction(direction="Talk like a pirate.", corrected="Arr."))
    assert written is not None
    assert with_accepted(written, talk(*lines, "u: Perfect!")[2:]) is None


def test_else_the_answer_that_the_complaint_writes_out() -> None:
    made = later_example(
        "u: Always answer in lowercase. What is rain?",
        "a: Rain is water that falls.",
        'u: No, it should be "rain is fallen water."',
    )
    assert made is not None
    assert (made.chosen, made.origin) == ("rain is fallen water.", "correction")


def test_else_the_answer_is_repaired() -> None:
    made = example(last_decision(f"s: {BASE}", f"u: What is rain? {JSON}", "a: Water that falls. It is wet."))
    assert made is not None
    assert (made.origin, made.state, made.chosen) == ("repair", "ready", '{"reply": "Water that falls."}')


def test_a_repair_keeps_every_direction_in_force() -> None:
    made = example(
        last_decision("s: Answer in lowercase.", f"u: What is rain? {JSON}", "a: Water that falls.")
    )
    assert made is not None
    assert made.chosen == '{"reply": "water that falls."}'


def test_else_it_waits_for_a_pair() -> None:
    said = correction(direction="Speak like a pirate.")
    made = example(last_decision("s: Speak like a pirate.", "u: What is rain?", "a: Water."), said)
    assert made is not None
    assert (made.chosen, made.state, made.origin) == (None, "needs_pair", "few_shot")


def test_a_correction_without_a_known_direction_has_no_twin() -> None:
    made = example(last_decision("u: What is rain?", "a: Water."), correction(corrected="Fallen water."))
    assert made is not None
    assert (made.direction, made.twin_context, made.chosen) == (None, None, "Fallen water.")


def test_nothing_sure_is_no_example() -> None:
    assert example(last_decision("u: Answer in lowercase.", "a: fine.")) is None
    assert example(last_decision("u: Be polite.", "a: Fine.")) is None
    assert example(last_decision("u: Answer in lowercase.", "a1: Fine."), correction()) is None
    assert example(last_decision("u: Hi.", "a: Hi."), correction("followed")) is None
    # a correction that changes nothing teaches nothing
    assert example(last_decision("u: Hi.", "a: Hi."), correction(corrected="Hi.")) is None


def test_doubtful_labels_do_not_train() -> None:
    decision = last_decision("u: Use at most 2 sentences.", "a: One. Two. Three.")
    votes = ConstraintLabeller().vote(Case(decision))
    assert correction_example("e", decision, votes, train_above=0.9) is not None
    assert correction_example("e", decision, votes, train_above=0.95) is None


def test_ordinary_answers_are_general_replay() -> None:
    decision = last_decision("s: Be kind.", "u: What is rain?", "a: Water.")
    made = general_example("g1", decision, ())
    assert made is not None
    assert (made.kind, made.origin, made.chosen, made.direction) == ("general", "ordinary", "Water.", None)
    ignored = judge(Case(decision, (), (correction(),)), (CorrectionLabeller(),)).labels
    assert general_example("g1", decision, ignored) is None
    assert general_example("g1", last_decision("u: Go.", "a1: Going."), ()) is None
    assert general_example("g1", last_decision("s: Be kind.", "a: Hello."), ()) is None
    broken_off = decision.turn.model_copy(update={"interrupted": True})
    assert general_example("g1", decision.model_copy(update={"turn": broken_off}), ()) is None


def followed(*lines: str) -> Example | None:
    decision = last_decision(*lines)
    judgement = judge(Case(decision, (), ()), (ConstraintLabeller(), ReactionLabeller()))
    return followed_example("e1", decision, judgement.labels)


def test_a_followed_answer_is_wanted_by_itself_under_its_direction() -> None:
    made = followed(f"s: {BASE}", f"u: What is rain? {JSON}", 'a: {"reply": "Water that falls."}')
    assert made is not None
    assert (made.kind, made.origin, made.state, made.rejected) == ("correction", "followed", "ready", None)
    assert (made.direction, made.chosen) == (JSON, '{"reply": "Water that falls."}')
    assert made.twin_context is not None
    assert [m["content"] for m in made.twin_context] == [BASE, "What is rain?"]


def test_nothing_is_wanted_by_itself_that_is_ignored_has_no_direction_or_calls_a_tool() -> None:
    assert followed(f"s: {BASE}", f"u: What is rain? {JSON}", "a: Water that falls.") is None
    assert followed("u: What is rain?", "a: Water that falls.") is None
    assert followed(f"s: {BASE}", f"u: What is rain? {JSON}", 'a1: {"reply": "Water."}') is None
    both = "Answer in lowercase only."
    assert followed(f"s: {both}", f"u: What is rain? {JSON}", 'a: {"reply": "Water."}') is None
