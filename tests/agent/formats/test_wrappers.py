from __future__ import annotations

import pytest

from agent.formats.wrappers import is_command, unwrap


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("  plain text stays as it is\n", "  plain text stays as it is\n"),
        ("<div>why is this red?</div>", "<div>why is this red?</div>"),
        ("compare a<b and c>d", "compare a<b and c>d"),
        ("<system-reminder>x</system-reminder>Go.", "Go."),
        ("Go.\n\n<system-reminder>\nx\n</system-reminder>\n", "Go."),
        ("<system-reminder>never closed. Go.", "<system-reminder>never closed. Go."),
        ("<command-name>/x</command-name><command-args>y</command-args>", ""),
        ("<any-new_wrapper>text</any-new_wrapper>", ""),
        ("<my-element>why?</my-element> does not render", "<my-element>why?</my-element> does not render"),
        ("# Context from my IDE setup:\n\n## Active file: a\n\n## My request for Codex:\nFix\nit", "Fix\nit"),
        ("# Context from my IDE setup:\n\n## Active file: a", ""),
        ("# Files mentioned by the user:\n\n## a: /a\n\n## My request for Codex:\nRead it", "Read it"),
        ("# Context of the bug\nIt is slow", "# Context of the bug\nIt is slow"),
        ("[Request interrupted by user] use tabs", "use tabs"),
        ("it printed [Request interrupted by user]", "it printed [Request interrupted by user]"),
        ('<image name=[Image #1]>[image]</image>\nwhat is it?', "[image]\nwhat is it?"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_was_typed(text: str, typed: str) -> None:
    assert unwrap(text).typed == typed


def test_interrupts_are_told_from_talk_about_them() -> None:
    assert unwrap("[Request interrupted by user for tool use]").interrupts == 1
    assert unwrap("why does it say [Request interrupted by user]?").interrupts == 0


def test_rules_of_project_files() -> None:
    reminder = (
        "<system-reminder># claudeMd\nContents of /p/CLAUDE.md (checked in):\n\n# Rules\nNever push.\n\n"
        "      IMPORTANT: this context may or may not be relevant.\n</system-reminder>"
    )
    assert unwrap(reminder).rules == ("# Rules\nNever push.",)
    agents = "# AGENTS.md instructions for /p\n\n<INSTRUCTIONS>\nUse tabs.\n</INSTRUCTIONS>"
    assert (unwrap(agents).rules, unwrap(agents).typed) == (("Use tabs.",), "")
    assert unwrap("<system-reminder>Be nice.</system-reminder>").rules == ()


def test_unclosed_wrappers_cost_no_more_than_a_reading() -> None:
    text = "<skill>" * 50_000 + "</x>"
    assert unwrap(text).typed == text


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/", True),
        ("/model gpt", True),
        (" /them", True),
        ("/a/b.png", False),
        ("a /b", False),
        ("/x:y", True),
    ],
)
def test_slash_commands(text: str, command: bool) -> None:
    assert is_command(text) == command
