from __future__ import annotations

from typing import Any

from logs import lines, read, read_in_pieces, read_records, reasons, said

HEAD = {"id": "s1", "timestamp": "2025-09-25T01:00:00Z", "cwd": "/p", "cli_version": "0.40.0"}


def line(kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": "2025-09-25T01:00:01Z", "type": kind, "payload": payload}


def head(**more: Any) -> dict[str, Any]:
    return line("session_meta", **{**HEAD, **more})


def message(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return line(
        "response_item", type="message", role=role, content=[{"type": kind, "text": text} for text in texts]
    )


def event(kind: str, **more: Any) -> dict[str, Any]:
    return line("event_msg", type=kind, **more)


def calls(call_id: str, name: str = "shell") -> dict[str, Any]:
    return line("response_item", type="function_call", name=name, arguments='{"a": 1}', call_id=call_id)


def gives(call_id: str, output: Any = "ok") -> dict[str, Any]:
    return line("response_item", type="function_call_output", call_id=call_id, output=output)


IDE = "# Context from my IDE setup:\n\n## Open tabs:\n- a.py: a.py\n\n## My request for Codex:\nFix it.\n"


def test_one_response_is_one_turn_and_results_pair() -> None:
    parsed = read_records(
        head(),
        message("user", "Go."),
        event("user_message", message="Go."),
        line("response_item", type="reasoning", summary=[], encrypted_content="x"),
        event("agent_message", message="Looking."),
        message("assistant", "Looking."),
        calls("c1"),
        calls("c2", "apply_patch"),
        gives("c1"),
        gives("c2", [{"type": "input_text", "text": "patched"}]),
        event("token_count", info=None),
        event("agent_message", message="Done."),
        message("assistant", "Done."),
    )
    assert said(parsed) == [
        ("user", "Go."),
        ("assistant", "Looking."),
        ("tool", "ok"),
        ("tool", "patched"),
        ("assistant", "Done."),
    ]
    assert [(call.id, call.name) for call in parsed.turns[1].tool_calls] == [
        ("c1", "shell"),
        ("c2", "apply_patch"),
    ]
    assert {turn.conversation_id for turn in parsed.turns} == {"s1"}


def test_a_message_that_stands_only_in_events_counts_too_and_equal_ones_are_two() -> None:
    parsed = read_records(
        head(),
        event("user_message", message="continue"),
        event("agent_message", message="Yes."),
        event("user_message", message="continue"),
        event("agent_message", message="Yes."),
    )
    assert [role for role, _ in said(parsed)] == ["user", "assistant", "user", "assistant"]


def test_twins_are_found_in_either_order() -> None:
    parsed = read_records(
        head(),
        event("user_message", message="A"),
        message("user", "A"),
        message("user", "B", "more"),
        event("user_message", message="B\nmore"),
        message("user", "B", "more"),
        event("user_message", message="B\nmore", images=["data:image/png;base64,AA"]),
    )
    assert said(parsed) == [("user", "A"), ("user", "B\nmore"), ("user", "B\nmore")]


def test_wrappers_are_noise_and_the_request_in_an_editors_context_is_what_was_typed() -> None:
    parsed = read_records(
        head(),
        message("user", "<environment_context>\n <cwd>/p</cwd>\n</environment_context>"),
        message("user", IDE),
        event("user_message", message=IDE),
        message("user", "<user_shell_command>ls</user_shell_command>"),
        message("user", "Another language model started to solve this problem and produced a summary"),
        line("compacted", message="Summary"),
    )
    assert said(parsed) == [("user", "Fix it.")]
    assert parsed.noise == 3


def test_instructions_are_system_turns_once() -> None:
    agents = (
        "# AGENTS.md instructions for /p\n\n<INSTRUCTIONS>\nNever push.\n</INSTRUCTIONS>"
        "<environment_context><cwd>/p</cwd></environment_context>"
    )
    parsed = read_records(
        head(instructions="Answer briefly.", base_instructions={"text": "You are Codex."}),
        message("developer", "<permissions instructions>Ask first.</permissions instructions>"),
        message("user", "<user_instructions>\n\nUse tabs.\n\n</user_instructions>"),
        message("user", agents),
        line("turn_context", model="gpt-x", user_instructions="Never push."),
        message("user", "Go."),
        message("assistant", "Gone."),
    )
    assert [(r, c[:24]) for r, c in said(parsed)] == [
        ("system", "You are Codex."),
        ("system", "Answer briefly."),
        ("developer", "<permissions instruction"),
        ("system", "Use tabs."),
        ("system", "Never push."),
        ("user", "Go."),
        ("assistant", "Gone."),
    ]
    assert parsed.turns[-1].model == "gpt-x"


def test_an_abort_counts_once_though_it_stands_in_two_lines() -> None:
    parsed = read_records(
        head(),
        message("user", "Go."),
        calls("c1"),
        event("turn_aborted", reason="interrupted"),
        message("user", "<turn_aborted>The user interrupted.</turn_aborted>"),
        message("user", "No!"),
        message("assistant", "Sorry."),
        message("user", "<turn_aborted>again</turn_aborted>"),
        event("turn_aborted", reason="replaced"),
        event("thread_rolled_back", num_turns=1),
        message("user", "Again."),
    )
    assert parsed.interrupts == 2
    assert [(turn.content, turn.interrupted) for turn in parsed.turns] == [
        ("Go.", False),
        ("", True),
        ("No!", True),
        ("Sorry.", True),
        ("Again.", True),
    ]


def test_a_fork_keeps_its_own_name_and_a_second_session_gets_its_own() -> None:
    parsed = read_records(
        head(), head(id="source"), message("user", "A"), head(id="s2"), message("user", "B")
    )
    assert [(t.conversation_id, t.content) for t in parsed.turns] == [("s1", "A"), ("s2", "B")]


def test_the_items_of_an_early_file_have_no_envelope() -> None:
    data = lines(
        {"id": "old", "timestamp": "2025-06-01T00:00:00Z", "instructions": None, "git": {}},
        {"record_type": "state"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": '{"output": "x"}'},
    )
    form, parsed = read(data)
    assert form == "codex"
    assert [(t.conversation_id, t.role) for t in parsed.turns] == [
        ("old", "user"), ("old", "assistant"), ("old", "tool"),
    ]  # fmt: skip


def test_new_kinds_are_named_and_events_are_metadata() -> None:
    parsed = read_records(
        head(),
        event("holiday"),
        line("response_item", type="hologram"),
        {"timestamp": "x", "type": "event_msg", "payload": "text"},
        {"type": "telegram"},
        line("response_item", type="message", role="user", content=5),
    )
    assert reasons(parsed) == [
        "log.jsonl, line 3: not understood: record type 'hologram'",
        "log.jsonl, line 4: payload: an object is needed",
        "log.jsonl, line 5: not understood: record type 'telegram'",
        "log.jsonl, line 6: content: text or a list is needed",
    ]


def test_following_gives_the_same_as_reading() -> None:
    data = lines(
        head(),
        message("user", "Go."),
        event("agent_message", message="Looking."),
        message("assistant", "Looking."),
        calls("c1"),
        event("turn_aborted", reason="interrupted"),
        event("user_message", message="No."),
        message("user", "No."),
    )
    assert read_in_pieces(data).turns == read(data)[1].turns
