from __future__ import annotations

from typing import Any

from logs import lines, read, read_in_pieces, read_records, reasons, said

from agent.formats.pi import CIRCULAR, NO_PARENT, TAKEN_ID

HEAD = {"type": "session", "version": 3, "id": "s", "timestamp": "2026-03-16T01:00:00.000Z"}


def entry(role: str, content: Any, **more: Any) -> dict[str, Any]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    tree = {key: more.pop(key) for key in ("id", "parentId") if key in more}
    message = {"role": role, "content": content, **more}
    return {"type": "message", **tree, "timestamp": "2026-03-16T01:00:01.000Z", "message": message}


CALL = {"type": "toolCall", "id": "t1", "name": "read", "arguments": {"path": "a"}}


def test_messages_calls_and_results() -> None:
    answer = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Reading."}, CALL]
    parsed = read_records(
        HEAD,
        entry("user", "Go."),
        entry("assistant", answer, model="m", stopReason="toolUse"),
        entry("toolResult", [{"type": "text", "text": "x"}, {"type": "image"}], toolCallId="t1"),
        entry("user", "plain text"),
    )
    assert said(parsed) == [
        ("user", "Go."), ("assistant", "Reading."), ("tool", "x\n[image]"), ("user", "plain text"),
    ]  # fmt: skip
    assert parsed.turns[1].tool_calls[0].arguments == '{"path": "a"}'
    assert (parsed.turns[2].tool_call_id, parsed.turns[1].model) == ("t1", "m")


def test_slash_commands_are_noise_and_paths_are_not() -> None:
    commands = ["/", "/the", "/mode", "/skill:review now", " /compact keep the plan\nplease"]
    typed = ["/home/me/shot.png what is this?", "look at /etc", "//", "/a/b"]
    parsed = read_records(HEAD, *(entry("user", text) for text in [*commands, *typed]))
    assert [content for _, content in said(parsed)] == typed
    assert parsed.noise == len(commands)


def test_aborted_turns_are_counted_and_marked_and_errors_only_marked() -> None:
    parsed = read_records(
        HEAD,
        entry("user", "Go."),
        entry("assistant", [], stopReason="aborted"),
        entry("user", "Again."),
        entry("assistant", "So th", stopReason="error"),
        entry("user", "And?"),
        entry("assistant", "Yes.", stopReason="stop"),
        entry("user", "Fine."),
    )
    assert parsed.interrupts == 1
    assert [turn.interrupted for turn in parsed.turns] == [False, True, True, True, True, False, False]


def test_what_the_harness_adds_is_no_turn() -> None:
    parsed = read_records(
        HEAD,
        {"type": "compaction", "summary": "s", "firstKeptEntryId": "a", "timestamp": "x"},
        {"type": "branch_summary", "fromId": "a", "summary": "s", "timestamp": "x"},
        {"type": "thinking_level_change", "thinkingLevel": "low", "timestamp": "x"},
        {"type": "custom", "customType": "x", "data": {}, "timestamp": "x"},
        {"type": "label", "targetId": "a", "label": "b", "timestamp": "x"},
        {"type": "custom_message", "customType": "x", "content": "injected", "timestamp": "x"},
        entry("bashExecution", "", command="ls", output="a"),
        {"type": "message", "message": {"role": "compactionSummary", "summary": "s"}},
        {"type": "telepathy"},
        {"type": "message", "message": {"role": "user", "content": 5}},
        {"type": "message", "message": 5},
        entry("oracle", "x"),
    )
    assert parsed.turns == ()
    assert (parsed.noise, parsed.metadata) == (0, 9)
    assert [line.partition(": ")[2] for line in reasons(parsed)] == [
        "not understood: record type 'telepathy'",
        "message.content: text or a list is needed",
        "message: an object is needed",
        "not understood: record type 'message of oracle'",
    ]


def test_a_prompt_after_a_jump_back_in_the_tree_is_marked() -> None:
    parsed = read_records(
        HEAD,
        entry("user", "Do A.", id="1", parentId=None),
        entry("assistant", "Did A.", id="2", parentId="1", stopReason="stop"),
        entry("user", "Do B.", id="3", parentId="2"),
        entry("assistant", "Did B.", id="4", parentId="3", stopReason="stop"),
        entry("user", "Do C.", id="5", parentId="2"),
    )
    assert [turn.interrupted for turn in parsed.turns] == [False, False, False, False, True]
    assert parsed.remarks == ()


def test_circles_missing_parents_and_taken_ids_are_named_and_kept() -> None:
    parsed = read_records(
        HEAD,
        entry("user", "one", id="1", parentId="1"),
        entry("user", "two", id="2", parentId="3"),
        entry("user", "three", id="3", parentId="2"),
        entry("user", "four", id="4", parentId="gone"),
        entry("user", "five", id="4", parentId="3"),
    )
    assert [content for _, content in said(parsed)] == ["one", "two", "three", "four", "five"]
    assert [(remark.place[-1], remark.kind) for remark in parsed.remarks] == [
        ("2", CIRCULAR),
        ("3", NO_PARENT),
        ("4", CIRCULAR),
        ("5", NO_PARENT),
        ("6", TAKEN_ID),
    ]


def test_following_gives_the_same_as_reading() -> None:
    data = lines(
        HEAD,
        entry("user", "Do A.", id="1", parentId=None),
        entry("assistant", "Did A.", id="2", parentId="1", stopReason="aborted"),
        entry("user", "Do B.", id="3", parentId="1"),
    )
    assert read(data)[0] == "pi"
    assert read_in_pieces(data).turns == read(data)[1].turns
