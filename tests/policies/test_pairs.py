from __future__ import annotations

from conversations import correction, last_decision

from policies.decision import DecisionPoint
from policies.example import Example
from policies.labelling import Case, ConstraintLabeller, CorrectionLabeller, ReactionLabeller, judge
from policies.messages import CorrectionPayload
from policies.pairs import correction_example, general_example

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
