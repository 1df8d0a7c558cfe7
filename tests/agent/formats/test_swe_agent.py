from __future__ import annotations

import json
from typing import Any

from logs import read, reasons, said

SYSTEM = {"role": "system", "content": "SETTING", "agent": "main"}
TASK = {"role": "user", "content": "Fix the issue.", "agent": "main", "message_type": "observation"}
CALL = {"id": "c1", "type": "function", "function": {"name": "open", "arguments": '{"path": "a"}'}}


def trajectory(*history: Any, **more: Any) -> bytes:
    return json.dumps({"environment": "e", "history": list(history), "info": {}, **more}).encode()


def test_only_the_task_is_a_user_turn_in_the_text_variant() -> None:
    form, parsed = read(
        trajectory(
            SYSTEM,
            {"role": "user", "content": "A demonstration", "is_demo": True},
            {"role": "assistant", "content": "In it", "is_demo": True},
            TASK,
            {"role": "assistant", "content": "Look.\n```\nls\n```", "action": "ls\n", "agent": "main"},
            {"role": "user", "content": "a.py", "agent": "main"},
            {"role": "assistant", "content": "```\nsubmit\n```", "agent": "main"},
        ),
        "x.traj",
    )
    assert form == "swe-agent"
    assert [role for role, _ in said(parsed)] == ["system", "user", "assistant", "tool", "assistant"]
    assert parsed.noise == 2


def test_calls_and_results_pair_in_the_function_calling_variant() -> None:
    _, parsed = read(
        trajectory(
            SYSTEM,
            {**TASK, "content": [{"type": "text", "text": "Fix it."}, {"type": "image_url"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "thinking_blocks": []},
            {"role": "tool", "content": "text", "tool_call_ids": ["c1"]},
            {"role": "sage", "content": "x"},
            7,
        ),
        "log.traj",
    )
    assert said(parsed)[1] == ("user", "Fix it.\n[image]")
    assert parsed.turns[2].tool_calls[0].name == "open"
    assert parsed.turns[3].tool_call_id == "c1"
    assert reasons(parsed) == [
        "log.traj, history[4]: not understood: record type 'message of role sage'",
        "log.traj, history[5]: a JSON object is needed",
    ]


def test_steps_stand_in_for_a_missing_history_and_agents_are_kept_apart() -> None:
    steps = [{"action": "ls", "observation": "a.py", "response": "Look.", "thought": "Look."}]
    assert said(read(json.dumps({"trajectory": steps}).encode())[1]) == [
        ("assistant", "Look."), ("tool", "a.py"),
    ]  # fmt: skip
    _, parsed = read(trajectory(SYSTEM, TASK, {**TASK, "agent": "reviewer"}))
    assert len({turn.conversation_id for turn in parsed.turns}) == 2


def test_mini_swe_agent_is_read_too() -> None:
    messages = [
        {"role": "system", "content": "S", "timestamp": 1_760_000_000.5},
        {"role": "user", "content": "Fix."},
        {"role": "assistant", "content": "```bash\nls\n```"},
        {"role": "user", "content": "<returncode>0</returncode>"},
        {"role": "exit", "content": "done"},
    ]
    form, parsed = read(
        json.dumps({"info": {}, "messages": messages, "trajectory_format": "mini-swe-agent-1"}).encode()
    )
    assert form == "swe-agent"
    assert [role for role, _ in said(parsed)] == ["system", "user", "assistant", "tool"]
    assert parsed.turns[0].ts == 1_760_000_000_500


def test_a_trajectory_that_has_grown_has_the_ids_it_had() -> None:
    history = [SYSTEM, TASK, {"role": "assistant", "content": "Look."}]
    short = read(trajectory(*history), "/runs/7/x.traj")[1].turns
    longer = read(trajectory(*history, {"role": "user", "content": "a"}), "/runs/7/x.traj")[1].turns
    other = read(trajectory(*history), "/runs/8/x.traj")[1].turns
    assert [turn.event_id for turn in longer[:3]] == [turn.event_id for turn in short]
    assert other[0].conversation_id != short[0].conversation_id
