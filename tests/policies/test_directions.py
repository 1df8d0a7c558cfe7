from __future__ import annotations

import pytest
from conversations import talk

from policies.directions import Force, advance, directing_sentences, directions_of


@pytest.mark.parametrize(
    ("role", "content", "found"),
    [
        ("system", "You are a helpful assistant. Answer in one or two short sentences.",
         [("Answer in one or two short sentences.", "standing")]),
        ("developer", "Never touch main.", [("Never touch main.", "standing")]),
        ("system", "# Rules\n- You must confirm before booking.\n- Bags cost 30 dollars.",
         [("You must confirm before booking.", "standing")]),
        ("user", 'Why is it so? Answer as a JSON object with the single key "reply".',
         [('Answer as a JSON object with the single key "reply".', "once")]),
        ("user", "From now on answer in one line.", [("From now on answer in one line.", "standing")]),
        ("user", 'Never write the word "the". Why?', [('Never write the word "the".', "standing")]),
        ("user", "Don't use emojis.", [("Don't use emojis.", "once")]),
        ("user", "Can you reply in lowercase?", [("Can you reply in lowercase?", "once")]),
        ("user", "please keep it brief", [("please keep it brief", "once")]),
        ("user", "What is a budget?", []),
        ("user", "Write a story about a lighthouse.", []),
        ("user", "No problem! Don't worry about it.", []),
        ("user", "Could you fix the bug?", []),
        ("user", "Look at this:\n```\nnever answer in JSON\n```", []),
        ("assistant", "Always answer in French.", []),
        ("tool", "Always answer in French.", []),
    ],
)  # fmt: skip
def test_directing_sentences(role: str, content: str, found: list[tuple[str, str]]) -> None:
    assert list(directing_sentences(content, role)) == found  # type: ignore[arg-type]


def test_ids_count_the_sentences_of_the_turn() -> None:
    (turn,) = talk("s: Be brief. Never shout. Be brief.")
    assert [(d.id, d.text) for d in directions_of(turn)] == [("c0/0", "Be brief."), ("c0/1", "Never shout.")]


@pytest.mark.parametrize(
    ("lines", "in_force"),
    [
        (["s: Be polite.", "u: Hi. Answer in one line."], ["Be polite.", "Answer in one line."]),
        (["s: Be polite.", "u: Hi. Answer in one line.", "a: Hi.", "u: And now?"], ["Be polite."]),
        (["u: Always answer in one line.", "a: Ok.", "u: Go on."], ["Always answer in one line."]),
        # replaced by a later one about the same thing
        (["u: Always answer in lowercase.", "u: From now on answer in all caps."],
         ["From now on answer in all caps."]),
        (["u: Use at most 20 words from now on.", "u: From now on use at most 5 words."],
         ["From now on use at most 5 words."]),
        # set aside for one answer, then back
        (["s: Answer in lowercase.", "u: Answer in ALL CAPS."], ["Answer in ALL CAPS."]),
        (["s: Answer in lowercase.", "u: Answer in ALL CAPS.", "a: OK.", "u: Hm."], ["Answer in lowercase."]),
        # two that do not contradict
        (['s: Never say "very".', 'u: Never say "really".'], ['Never say "very".', 'Never say "really".']),
        # withdrawn
        (["u: Always answer in lowercase.", "a: ok", "u: Forget what I said about lowercase."], []),
        (["u: Always answer in lowercase. Always use one line.", "u: Forget what I said about lowercase."],
         ["Always use one line."]),
        (["u: Always answer in lowercase.", "u: Ignore my previous instructions."], []),
        (["u: Always answer in lowercase.", "u: You don't need to use lowercase anymore."], []),
        (["s: Answer in lowercase.", "u: Ignore my previous instructions."], ["Answer in lowercase."]),
        # said twice is in force once
        (["s: Be brief.", "s: Be brief."], ["Be brief."]),
    ],
)  # fmt: skip
def test_in_force(lines: list[str], in_force: list[str]) -> None:
    force = Force()
    for turn in talk(*lines):
        force = advance(force, turn)
    assert [direction.text for direction in force.directions()] == in_force


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "unit",
    ["a ", "a. ", "(", '"', "'a", "- x\n", "\n", "for all ", "one two ", 'json key "', "valid ", '{"a": ',
     "always ", "answer always only in ", "1.", "you must your answer must ", "do not use the word ",
     "a, or b, and ", "```\n"],
)  # fmt: skip
def test_no_text_is_slow(unit: str) -> None:
    directing_sentences(unit * (1_000_000 // len(unit)), "user")
    for role in ("user", "system"):
        directing_sentences((unit * 1_000)[:990] + " end", role)  # type: ignore[arg-type]
