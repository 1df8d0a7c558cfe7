from __future__ import annotations

import json
from typing import Any

from logs import lines, read, read_in_pieces, reasons, said

WHEN = "2025-01-20T20:29:13.519638"


def action(number: int, kind: str, source: str = "agent", **more: Any) -> dict[str, Any]:
    args = more.pop("args", {})
    return {"id": number, "timestamp": WHEN, "source": source, "action": kind, "args": args, **more}


def observed(number: int, kind: str, content: str, **more: Any) -> dict[str, Any]:
    extras = more.pop("extras", {})
    base = {"id": number, "timestamp": WHEN, "source": "agent", "observation": kind}
    return {**base, "content": content, "extras": extras, **more}


def metadata(call_id: str, *ids: str) -> dict[str, Any]:
    calls = [{"id": i, "function": {"name": "execute_bash", "arguments": "{}"}} for i in ids]
    message = {"content": "I will.", "role": "assistant", "tool_calls": calls}
    response = {"id": "r1", "model": "m", "choices": [{"message": message}]}
    return {
        "tool_call_metadata": {
            "function_name": "execute_bash",
            "tool_call_id": call_id,
            "model_response": response,
        }
    }


def test_calls_of_one_answer_are_one_turn_and_pair_with_what_they_caused() -> None:
    form, parsed = read(
        json.dumps(
            [
                action(0, "system", args={"content": "You are OpenHands."}),
                action(1, "message", "user", args={"content": "Go."}),
                action(2, "recall", "user", args={"query": "Go."}),
                observed(3, "recall", "", extras={"repo_instructions": "Never push."}),
                action(4, "run", **metadata("c1", "c1", "c2")),
                observed(5, "run", "one", cause=4, **metadata("c1", "c1", "c2")),
                action(6, "run", **metadata("c2", "c1", "c2")),
                observed(7, "run", "two", cause=6, **metadata("c2", "c1", "c2")),
                action(8, "message", args={"content": "Done."}),
                action(9, "change_agent_state", "environment", args={"agent_state": "finished"}),
                observed(10, "null", "", cause=8),
                observed(11, "agent_state_changed", "", extras={"agent_state": "finished"}),
            ]
        ).encode(),
        "events.json",
    )
    assert form == "openhands"
    assert said(parsed) == [
        ("system", "You are OpenHands."),
        ("user", "Go."),
        ("system", "Never push."),
        ("assistant", "I will."),
        ("tool", "one"),
        ("tool", "two"),
        ("assistant", "Done."),
    ]
    assert [call.id for call in parsed.turns[3].tool_calls] == ["c1", "c2"]
    assert [turn.tool_call_id for turn in parsed.turns[4:6]] == ["c1", "c2"]


def test_actions_without_a_models_answer_pair_by_their_cause() -> None:
    _, parsed = read(
        json.dumps(
            [
                action(1, "run", args={"command": "ls", "thought": "I look."}),
                observed(2, "run", "a", cause=1),
                action(3, "finish", args={"final_thought": "All done."}),
            ]
        ).encode()
    )
    assert said(parsed) == [("assistant", "I look."), ("tool", "a"), ("assistant", "All done.")]
    assert parsed.turns[0].tool_calls[0].id == parsed.turns[1].tool_call_id == "event-1"
    assert parsed.turns[0].tool_calls[0].arguments == '{"command": "ls"}'


def test_a_stop_is_an_interrupt_and_new_kinds_are_named() -> None:
    _, parsed = read(
        json.dumps(
            [
                action(1, "run", args={"command": "ls"}),
                observed(2, "agent_state_changed", "", extras={"agent_state": "stopped"}),
                action(3, "message", "user", args={"content": "Not that."}),
                observed(4, "user_rejected", "Rejected", cause=1),
                action(5, "levitate"),
                {"id": 6, "source": "agent"},
            ]
        ).encode(),
        "log.json",
    )
    assert parsed.interrupts == 1
    assert [(t.content, t.interrupted) for t in parsed.turns[1:]] == [("Not that.", True), ("Rejected", True)]
    assert reasons(parsed) == [
        "log.json, event 4: not understood: record type 'action levitate'",
        "log.json, event 5: not understood: record type '{id, source}'",
    ]


def test_evaluation_output_holds_one_history_a_line() -> None:
    row = {"instance_id": "i", "history": [action(1, "message", "user", args={"content": "Go."})]}
    form, parsed = read(lines(row, {**row, "instance_id": "j"}))
    assert form == "openhands"
    assert len({turn.conversation_id for turn in parsed.turns}) == 2


def test_the_events_of_the_sdk() -> None:
    text = [{"type": "text", "text": "Go."}]
    data = lines(
        {"kind": "SystemPromptEvent", "id": "0", "timestamp": WHEN, "system_prompt": {"text": "You are."}},
        {
            "kind": "MessageEvent",
            "id": "1",
            "source": "user",
            "llm_message": {"role": "user", "content": text},
        },
        {
            "kind": "ActionEvent",
            "id": "2",
            "source": "agent",
            "thought": [{"type": "text", "text": "Look."}],
            "tool_name": "terminal",
            "tool_call_id": "c",
            "tool_call": {"id": "c", "name": "terminal", "arguments": '{"command": "ls"}'},
        },
        {"kind": "ObservationEvent", "id": "3", "tool_call_id": "c", "observation": {"content": text}},
        {"kind": "PauseEvent", "id": "4", "source": "user"},
        {"kind": "ConversationStateUpdateEvent", "id": "5", "key": "x", "value": 1},
        {"kind": "UserRejectObservation", "id": "6", "tool_call_id": "c", "rejection_reason": "no"},
        {"kind": "MindReadingEvent", "id": "7"},
    )
    form, parsed = read(data)
    assert form == "openhands"
    assert said(parsed) == [
        ("system", "You are."), ("user", "Go."), ("assistant", "Look."), ("tool", "Go."), ("tool", "no"),
    ]  # fmt: skip
    assert parsed.turns[2].tool_calls[0].arguments == '{"command": "ls"}'
    assert (parsed.interrupts, parsed.metadata) == (1, 2)
    assert reasons(parsed) == ["log.jsonl, line 8: not understood: record type 'MindReadingEvent'"]
    assert read_in_pieces(data).turns == parsed.turns


def test_a_trajectory_that_has_grown_has_the_ids_it_had() -> None:
    events = [
        action(1, "message", "user", args={"content": "Go."}),
        action(2, "think", args={"thought": "x"}),
    ]
    short = read(json.dumps(events[:1]).encode())[1].turns
    assert read(json.dumps(events).encode())[1].turns[:1] == short
