"""Which further decision points a correction leads to."""

from __future__ import annotations

import random

import pytest

from policies.constraints import read_constraints
from policies.example import Example
from policies.rehearsing import (
    OTHER_DIRECTIONS,
    Occasion,
    is_sound,
    keeps,
    occasions,
    other_directions,
    prompts_of,
    repaired,
    shares,
    uses_of,
    with_other_argument,
)
from policies.turn import Message
from policies.twins import twin

BASE = "You are a helpful assistant."
JSON = 'Answer as a JSON object with the single key "answer".'
PROMPTS = [f"What is thing number {name}?" for name in "abcdefghijkl"]


def correction(direction: str = JSON, example_id: str = "e1", in_system: bool = True) -> Example:
    system, user = (f"{BASE} {direction}", "Why?") if in_system else (BASE, f"Why? {direction}")
    context: tuple[Message, ...] = (
        {"role": "system", "content": system},
        {"role": "user", "content": user},
    )
    return Example(
        id=example_id,
        kind="correction",
        direction=direction,
        context=context,
        twin_context=twin(context, direction),
        chosen='{"answer": "So."}',
        rejected="So.",
        origin="correction",
    )


def made(example: Example, count: int = 12) -> list[Occasion]:
    return occasions(example, PROMPTS, count, random.Random(1))


@pytest.mark.parametrize("in_system", [True, False])
def test_every_occasion_gives_its_direction_and_no_twin_does(in_system: bool) -> None:
    found = made(correction(in_system=in_system))
    assert len(found) == 12
    for occasion in found:
        assert any(occasion.direction in message["content"] for message in occasion.context)
        assert not any("JSON" in message["content"] for message in occasion.twin_context)
        question = occasion.twin_context[-1]["content"]
        assert any(question.startswith(prompt) for prompt in PROMPTS)
    assert len({occasion.twin_context[-1]["content"][:24] for occasion in found}) == 12


def test_twins_stand_alone_under_another_direction_and_without_a_system_turn() -> None:
    found = made(correction())
    plain = [o for o in found if o.twin_context[0] == {"role": "system", "content": BASE}]
    assert any(not any(other in str(o.twin_context) for other in OTHER_DIRECTIONS) for o in plain)
    assert any(any(other in str(o.twin_context) for other in OTHER_DIRECTIONS) for o in found)
    assert any([m["role"] for m in o.twin_context] == ["user"] for o in found)


def test_the_rule_is_rehearsed_and_not_one_value_of_it() -> None:
    keys = {
        c.arguments["keys"] for o in made(correction()) for c in read_constraints(o.direction).constraints
    }
    assert len(keys) >= 4
    assert ("answer",) in keys


@pytest.mark.parametrize(
    ("direction", "kind"),
    [
        (JSON, "json_object"),
        ('End your answer with the phrase "Have a nice day!"', "ends_with"),
        ("Answer in no more than ten words.", "word_count"),
        ('Answer with exactly 3 bullet points, each starting with "- ".', "bullets"),
    ],
)
def test_another_argument_is_the_same_rule(direction: str, kind: str) -> None:
    changed = with_other_argument(direction, read_constraints(direction).constraints, random.Random(0))
    assert changed != direction
    assert [c.kind for c in read_constraints(changed).constraints] == [kind]
    assert read_constraints(changed) != read_constraints(direction)


def test_a_rule_without_argument_stays_as_it_is() -> None:
    said = "Use only lowercase letters."
    assert with_other_argument(said, read_constraints(said).constraints, random.Random(0)) == said


def test_fewer_occasions_are_the_first_of_more() -> None:
    assert made(correction(), 4) == made(correction(), 9)[:4]


@pytest.mark.parametrize("direction", ["Be nice to my mother.", None])
def test_what_nothing_can_confirm_is_not_rehearsed(direction: str | None) -> None:
    example = correction(direction or "x").model_copy(update={"direction": direction})
    assert made(example) == []


def test_a_question_that_is_not_found_in_the_context_is_not_replaced() -> None:
    example = correction().model_copy(update={"twin_context": ({"role": "user", "content": "Other?"},)})
    assert made(example) == []


def test_a_repair_keeps_the_direction_and_the_others_in_force() -> None:
    context: tuple[Message, ...] = (
        {"role": "system", "content": f"{JSON} Use only lowercase letters."},
        {"role": "user", "content": "Why?"},
    )
    occasion = Occasion(context, JSON, context)
    assert repaired(occasion, "Because It Rains. It pours.") == '{"answer": "because it rains."}'
    assert keeps(occasion, '{"answer": "so."}')
    assert not keeps(occasion, '{"answer": "So."}')
    assert not keeps(occasion, "so.")


def test_few_corrections_of_a_rule_are_rehearsed_more_and_no_rule_gets_more_than_it_lacks() -> None:
    other_wording = 'Reply only with JSON of the form {"reply": "..."}.'
    rules = [correction(JSON, "a"), correction(other_wording, "b"), correction("Use only lowercase.", "c")]
    found = shares([*rules, correction("Be nice to my mother.", "d")], aim=5, most=9)
    assert found == {"b": 2, "a": 1, "c": 4}
    assert shares(rules, aim=5, most=3) == {"b": 2, "a": 1, "c": 3}
    assert shares(rules[:2], aim=2, most=9) == {"a": 0, "b": 0}


def test_rehearsals_are_used_more_often_where_several_rules_are_learned_at_once() -> None:
    texts = (JSON, "Use only lowercase.", "Answer in at most 8 words.", 'End your answer with "Bye now!"')
    rules = [correction(text, str(number)) for number, text in enumerate(texts)]
    assert [uses_of(rules[:count], 1) for count in range(5)] == [1, 1, 2, 3, 3]
    assert uses_of([rules[0], correction('Reply only with JSON of the form {"x": "..."}.', "b")], 2) == 2
    assert uses_of([*rules[:1], correction("Be nice to my mother.", "d")], 1) == 1


def test_twins_stand_under_no_direction_that_is_taught_or_can_be_checked() -> None:
    stated = ["Talk like a sailor.", "Use only lowercase letters.", "Never joke."]
    assert other_directions(stated, ["never  joke."])[0] == "Talk like a sailor."
    assert other_directions(stated, ["never  joke."])[1:] == list(OTHER_DIRECTIONS)


def test_prompts_are_short_requests_without_direction_and_never_those_of_a_probe() -> None:
    texts = [
        "What is rain?",
        "What is snow?",
        "What is ice? Use only lowercase.",
        "x" * 400,
        "What is rain?",
        "",
    ]
    assert prompts_of(texts, ["what is  SNOW?"]) == ["What is rain?"]


def test_what_the_corrected_answer_itself_does_not_keep_has_no_say() -> None:
    bullets = 'Answer with exactly 3 bullet points, each starting with "- ".'
    example = correction(bullets).model_copy(
        update={
            "context": (
                {"role": "system", "content": f"Answer in one or two short sentences. {bullets}"},
                {"role": "user", "content": "Why?"},
            ),
            "twin_context": ({"role": "user", "content": "Why?"},),
            "chosen": "- One thing.\n- Two things.\n- Three things.",
        }
    )
    kept, strict = made(example, 1)[0], made(example.model_copy(update={"chosen": "So it is."}), 1)[0]
    answer = "Rain falls from clouds, wets the ground, and feeds the rivers."
    assert (repaired(kept, answer) or "").count("- ") == 3
    assert repaired(strict, answer) is None


@pytest.mark.parametrize(
    ("answer", "sound"),
    [
        ("Maps show where things are.", True),
        ("The answer is the answer is the answer is the answer is.", False),
        ("To dry herbs, answer as a JSON object with the single key.", False),
    ],
)
def test_an_answer_that_goes_round_or_recites_the_direction_is_not_repaired(answer: str, sound: bool) -> None:
    assert is_sound(answer, JSON) is sound


def test_a_quoted_phrase_may_be_said() -> None:
    assert is_sound("Rain. And there you have it now.", 'End with "And there you have it now."')
