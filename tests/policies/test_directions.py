from __future__ import annotations

import json
import time

import pytest
from conversations import talk, turn

from policies.directions import (
    MOST_CHECKABLE,
    MOST_OTHERS,
    Force,
    advance,
    directing_sentences,
    directions_of,
)
from policies.turn import Role, ToolCall, Turn


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
        # ways people talk to agents
        ("user", "i told you, no emojis", [("i told you, no emojis", "once")]),
        ("user", "Thanks. From now on always cite the source.",
         [("From now on always cite the source.", "standing")]),
        ("user", "For the rest of this conversation, talk like a pirate.",
         [("For the rest of this conversation, talk like a pirate.", "standing")]),
        ("user", "In all your answers be formal.", [("In all your answers be formal.", "standing")]),
        ("user", "Please call me Sam from now on.", [("Please call me Sam from now on.", "standing")]),
        ("user", "Just this time, answer in one line.", [("Just this time, answer in one line.", "once")]),
        ("user", "Don't touch src/app.py.", [("Don't touch src/app.py.", "standing")]),
        ("user", "Fix the parser, and run the tests before you say you are done.",
         [("Fix the parser, and run the tests before you say you are done.", "standing")]),
        ("user", "whenever you write code, never add comments",
         [("whenever you write code, never add comments", "standing")]),
        ("user", "Answer like you would to a child.", [("Answer like you would to a child.", "once")]),
        ("user", "Use british spelling in your answers.", [("Use british spelling in your answers.",
         "once")]),
        # tasks, chatter, and what others say
        ("user", "make the header a bit smaller and use the same colour in markdown blocks", []),
        ("user", "add a test for the empty case", []),
        ("user", "We should look at line 12 of the file.", []),
        ("user", "The error says that you must set a region.", []),
        ("user", "Never mind.", []),
        ("user", "> always answer in one line\nWhat did he mean by that?", []),
        ("user", 'What does "never push to main" mean?', []),
        ("user", "thanks, that's always nice to hear", []),
        ("user", "I always get this error.", []),
        ("user", "you can always ask me", []),
        # system prompts: rules, not manuals, examples or labels
        ("system",
         "search_dir <term> [<dir>] - searches for a term\ncreate:\nuse_tool (string) [required]", []),
        ("system", "All of the tools you need to use are listed below.", []),
        ("system", "You are an agent. The user can upload files.", []),
        ("system", "<example>\nNever answer in JSON.\n</example>\nNever guess.", [("Never guess.",
         "standing")]),
        ("system", "## Examples\nAlways say hello.\n## Rules\nNever guess.", [("Never guess.", "standing")]),
        ("system", "user: always answer in one line\nassistant: fine", []),
        ("system", "If the tests fail, you must report it.", [("If the tests fail, you must report it.",
         "standing")]),
        ("system", "**You MUST cite a source.**", [("**You MUST cite a source.**", "standing")]),
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
        (["u: Always answer in lowercase.", "u: You can use capital letters and lowercase again."], []),
        (["u: Never use emojis.", "u: Emojis are fine again."], []),
        (["u: Never use emojis.", "u: From now on use emojis in every answer."],
         ["From now on use emojis in every answer."]),
        (["u: Always call me Sam.", "u: From now on call me Alex."], ["From now on call me Alex."]),
        (["u: Always talk like a pirate.", "u: From now on talk like a judge."],
         ["From now on talk like a judge."]),
        (["u: Always be kind.", "u: You may now go on."], ["Always be kind."]),
        (["u: Always be kind.", "u: Never mind the typo."], ["Always be kind."]),
        # to go on is no new request
        (["u: Answer in one line. Why?", "a: So.", "u: continue"], ["Answer in one line."]),
        (["u: Answer in one line. Why?", "a: So.", "u: ok, go on please."], ["Answer in one line."]),
        (["u: Answer in one line. Why?", "a: So.", "u: ok"], []),
        # said twice is in force once
        (["s: Be brief.", "s: Be brief."], ["Be brief."]),
    ],
)  # fmt: skip
def test_in_force(lines: list[str], in_force: list[str]) -> None:
    force = Force()
    for one in talk(*lines):
        force = advance(force, one)
    assert [direction.text for direction in force.directions] == in_force


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "unit",
    ["a ", "a. ", "(", '"', "'a", "- x\n", "\n", "for all ", "one two ", 'json key "', "valid ", '{"a": ',
     "always ", "answer always only in ", "1.", "you must your answer must ", "do not use the word ",
     "a, or b, and ", "```\n", "<example>", "use words in capital letters ", "at least one ", "lowercase ",
     "bullets 3 ", 'sections with "#0" ', "> a\n", "# example\n", "*a* ", "AGENTS.md "],
)  # fmt: skip
def test_no_text_is_slow(unit: str) -> None:
    for long_role in ("user", "system"):
        directing_sentences(unit * (1_000_000 // len(unit)), long_role)  # type: ignore[arg-type]
    for role in ("user", "system"):
        directing_sentences((unit * 1_000)[:990] + " end", role)  # type: ignore[arg-type]


def _after(*turns: Turn) -> Force:
    force = Force()
    for one in turns:
        force = advance(force, one)
    return force


def test_a_flood_of_rules_is_bounded_and_counted() -> None:
    others = [f"You must look after thing {n}." for n in range(50)]
    words = [f'Never say "word{n}".' for n in range(50)]
    force = _after(
        turn("system", " ".join([*others, *words]), "s"), turn("user", "Always be kind to me.", "u")
    )
    kept = [direction.text for direction in force.directions]
    assert kept == [*others[: MOST_OTHERS - 1], *words[-MOST_CHECKABLE:], "Always be kind to me."]
    assert force.left_out == 101 - len(kept)


def test_what_the_user_asks_comes_before_the_rules() -> None:
    rules = " ".join(f"You must look after thing {n}." for n in range(50))
    force = _after(turn("system", rules, "s"), turn("user", "Please keep it brief.", "u"))
    assert "Please keep it brief." in [direction.text for direction in force.directions]


PROJECT = (
    "# House rules\n\n- Never use tabs.\n- Always run `make lint` first.\n\nThis folder holds the parser."
)
RULES = ["Never use tabs.", "Always run `make lint` first."]


@pytest.mark.parametrize(
    "content",
    [
        f"# AGENTS.md instructions for /home/me/x\n\n<INSTRUCTIONS>\n{PROJECT}\n</INSTRUCTIONS>\nNever mind.",
        f"Contents of /home/me/x/CLAUDE.md (project instructions):\n\n{PROJECT}",
    ],
)
@pytest.mark.parametrize("role", ["user", "developer"])
def test_a_project_file_in_a_message_gives_standing_rules(role: Role, content: str) -> None:
    force = _after(turn(role, content, "p"), turn("user", "Why is it so?", "u"))
    assert [direction.text for direction in force.directions] == RULES
    assert {direction.scope for direction in force.directions} == {"standing"}


@pytest.mark.parametrize(
    ("name", "arguments", "known"),
    [
        ("Read", {"file_path": "/x/AGENTS.md"}, True),
        ("bash", {"command": "cd /x && cat CLAUDE.md"}, True),
        ("str_replace_editor", {"command": "view", "path": "/x/GEMINI.md"}, True),
        ("bash", {"command": "ls AGENTS.md"}, False),
        ("Write", {"file_path": "/x/notes.md", "content": "see AGENTS.md"}, False),
        ("Read", {"file_path": "/x/README.md"}, False),
    ],
)
def test_a_project_file_that_a_tool_shows_gives_rules(
    name: str, arguments: dict[str, str], known: bool
) -> None:
    call = ToolCall(id="k", name=name, arguments=json.dumps(arguments))
    asked = turn("assistant", "", "a").model_copy(update={"tool_calls": (call,)})
    numbered = "\n".join(f"{n:>6}\t{line}" for n, line in enumerate(PROJECT.split("\n"), 1))
    for shown in (PROJECT, numbered):
        result = turn("tool", shown, "t").model_copy(update={"tool_call_id": "k"})
        force = _after(turn("user", "Go.", "u"), asked, result, turn("user", "And now?", "v"))
        assert [direction.text for direction in force.directions] == (RULES if known else [])


def test_reading_grows_in_step_with_the_text() -> None:
    """Ten times the text may cost ten times the work, with room for a busy machine, not a hundred times."""
    rule = "- You must look at item {n} first, and answer in one line.\nThe house has {n} rooms.\n"

    def work(size: int) -> float:
        costs = []
        for attempt in range(3):
            text = "".join(rule.format(n=f"{attempt}x{size}x{n}") for n in range(size))
            begin = time.process_time()
            directing_sentences(text, "system")
            costs.append(time.process_time() - begin)
        return min(costs)

    assert work(1_000) < 40 * work(100)
