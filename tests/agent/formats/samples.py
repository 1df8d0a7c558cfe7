"""A few records of each format, of every kind that its reader takes apart."""

from __future__ import annotations

from typing import Any

WHEN = "2025-10-01T10:00:00.000Z"
_CALL = {"id": "c", "type": "function", "function": {"name": "run", "arguments": "{}"}}
_CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": [{"type": "text", "text": "U"}]},
    {"role": "assistant", "content": None, "tool_calls": [_CALL], "function_call": {"name": "f"}},
    {"role": "tool", "tool_call_id": "c", "content": "ok"},
]


def _claude(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": kind, "id": "m", "model": "x", "stop_reason": None, "content": content}
    base = {"type": kind, "uuid": "u", "parentUuid": "p", "sessionId": "s", "timestamp": WHEN}
    return {**base, "message": message, **more}


def _codex(kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": WHEN, "type": kind, "payload": payload}


def _pi(role: str, content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": role, "content": content, **more}
    return {"type": "message", "id": "1", "parentId": "0", "timestamp": WHEN, "message": message}


_OTEL_SPAN = {
    "startTimeUnixNano": "1731368639000000000",
    "attributes": [
        {"key": "gen_ai.conversation.id", "value": {"stringValue": "c"}},
        {
            "key": "gen_ai.input.messages",
            "value": {"arrayValue": {"values": [{"kvlistValue": {"values": []}}]}},
        },
        {
            "key": "gen_ai.output.messages",
            "value": {"stringValue": '[{"role": "assistant", "parts": [{"type": "text", "content": "A"}]}]'},
        },
    ],
    "events": [{"name": "gen_ai.choice", "attributes": {"message": '{"content": "x"}'}}],
}
_OPENHANDS_METADATA = {
    "tool_call_id": "c",
    "function_name": "run",
    "model_response": {
        "id": "r",
        "model": "m",
        "choices": [{"message": {"content": "C", "tool_calls": [_CALL]}}],
    },
}

SAMPLES: dict[str, list[Any]] = {
    "claude-code": [
        _claude("user", "Go."),
        _claude("user", [{"type": "text", "text": "[Request interrupted by user]"}, {"type": "image"}]),
        _claude("assistant", [{"type": "text", "text": "A"}, {"type": "thinking", "thinking": "T"}]),
        _claude("assistant", [{"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1]}}]),
        _claude(
            "user", [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]}]
        ),
        _claude("user", "Sub", isSidechain=True, agentId="a", origin={"kind": "human"}),
        {"type": "attachment", "attachment": {"type": "queued_command", "prompt": "P"}, "sessionId": "s"},
        {"type": "attachment", "attachment": {"type": "nested_memory", "content": {"content": "M"}}},
        {"type": "summary", "leafUuid": "x", "summary": "S"},
    ],
    "codex": [
        _codex("session_meta", id="s", timestamp=WHEN, instructions="I", base_instructions={"text": "B"}),
        _codex("turn_context", model="m", user_instructions="U", developer_instructions="D"),
        _codex("response_item", type="message", role="user", content=[{"type": "input_text", "text": "Q"}]),
        _codex("event_msg", type="user_message", message="Q", images=["x"]),
        _codex("response_item", type="function_call", name="n", arguments="{}", call_id="c"),
        _codex("response_item", type="custom_tool_call", name="n", input="x", call_id="d"),
        _codex("response_item", type="local_shell_call", action={"command": ["ls"]}, call_id="e"),
        _codex("response_item", type="function_call_output", call_id="c", output={"content": "ok"}),
        _codex("event_msg", type="agent_message", message="A"),
        _codex("event_msg", type="turn_aborted", reason="interrupted"),
        _codex("compacted", message="S"),
        {"type": "message", "role": "assistant", "content": "early"},
    ],
    "pi": [
        {"type": "session", "version": 3, "id": "s", "timestamp": WHEN},
        _pi("user", [{"type": "text", "text": "U"}]),
        _pi(
            "assistant", [{"type": "toolCall", "id": "t", "name": "n", "arguments": {}}], stopReason="aborted"
        ),
        _pi("toolResult", [{"type": "text", "text": "r"}], toolCallId="t"),
        {"type": "compaction", "id": "9", "parentId": "1", "timestamp": WHEN, "summary": "S"},
    ],
    "gemini": [
        {
            "sessionId": "s",
            "projectHash": "h",
            "startTime": WHEN,
            "messages": [
                {"id": "1", "timestamp": WHEN, "type": "user", "content": [{"text": "U"}]},
                {
                    "id": "2",
                    "type": "gemini",
                    "content": "A",
                    "toolCalls": [
                        {
                            "id": "c",
                            "name": "n",
                            "args": {},
                            "result": [{"functionResponse": {"response": {"output": "o"}}}],
                        }
                    ],
                },
                {"id": "3", "type": "info", "content": "Request cancelled."},
            ],
        },
        {"id": "4", "timestamp": WHEN, "type": "gemini", "content": "A", "toolCalls": []},
        {"$rewindTo": "1"},
    ],
    "swe-agent": [
        {
            "environment": "e",
            "trajectory": [{"action": "a", "observation": "o", "response": "r"}],
            "history": [
                {**message, "agent": "main", "message_type": "x", "is_demo": False} for message in _CHAT
            ],
        },
        {"trajectory": [{"observation": "o", "response": "r"}]},
    ],
    "tau-bench": [
        [{"task_id": 1, "trial": 0, "traj": _CHAT}],
        {
            "simulations": [
                {"id": "i", "messages": [*_CHAT, {"role": "tool", "tool_messages": [{"id": "c"}]}]}
            ]
        },
        {"messages_display": "user: a\nassistant: b"},
    ],
    "otel-genai": [{"resourceSpans": [{"scopeSpans": [{"spans": [_OTEL_SPAN]}]}]}, _OTEL_SPAN],
    "openhands": [
        [
            {"id": 1, "timestamp": WHEN, "source": "user", "action": "message", "args": {"content": "U"}},
            {
                "id": 2,
                "source": "agent",
                "action": "run",
                "args": {"thought": "T"},
                "tool_call_metadata": _OPENHANDS_METADATA,
            },
            {
                "id": 3,
                "source": "agent",
                "observation": "run",
                "cause": 2,
                "content": "o",
                "extras": {"a": 1},
            },
            {
                "id": 4,
                "source": "environment",
                "observation": "agent_state_changed",
                "extras": {"agent_state": "stopped"},
            },
        ],
        {"entries": [{"id": 1, "type": "message", "content": "U", "actorType": "User"}]},
        {
            "kind": "ActionEvent",
            "id": "2",
            "source": "agent",
            "thought": [{"text": "T"}],
            "tool_call": {"id": "c", "function": {"name": "n"}},
        },
        {
            "kind": "ObservationEvent",
            "id": "3",
            "tool_call_id": "c",
            "observation": {"content": [{"text": "o"}]},
        },
    ],
    "openai-http": [
        {
            "request": {"model": "m", "messages": _CHAT},
            "response": {"id": "r", "created": 1, "choices": [{"index": 0, "message": _CHAT[2]}]},
        },
        {
            "request": {"body": '{"model": "m", "input": "U"}'},
            "response": {"body": {"string": 'data: {"choices": [{"delta": {"content": "x"}}]}'}},
        },
        {
            "request": {
                "input": [{"type": "function_call", "call_id": "c", "name": "n"}],
                "previous_response_id": "p",
            },
            "response": {
                "object": "response",
                "id": "q",
                "output": [{"type": "message", "role": "assistant", "content": [{"text": "A"}]}],
            },
        },
        {"log": {"entries": [{"request": {"postData": {"text": "{}"}}, "response": {"content": {}}}]}},
    ],
    "openai-messages": [
        {"conversation_id": "c", "role": "user", "content": "U"},
        {"conversation_id": "c", "turns": _CHAT, "ts": WHEN},
        {"messages": _CHAT},
    ],
}
