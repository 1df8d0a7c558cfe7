"""Short ways to write conversations for tests."""

from __future__ import annotations

from policies.decision import DecisionPoint
from policies.messages import CorrectionPayload
from policies.segmentation import segment
from policies.turn import Role, ToolCall, Turn

ROLES: dict[str, Role] = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}


def turn(role: Role, content: str, event_id: str, *, conversation: str = "c", calls: int = 0) -> Turn:
    """Make one turn, with so many tool calls."""
    return Turn(
        event_id=event_id,
        conversation_id=conversation,
        role=role,
        content=content,
        tool_calls=tuple(ToolCall(id=f"{event_id}-{n}", name="run") for n in range(calls)),
        ts=0,
    )


def talk(*lines: str, conversation: str = "c") -> list[Turn]:
    """Make turns of lines such as "u: hello" (s, d, u, a, t); "a2: text" has two tool calls."""
    turns = []
    for number, line in enumerate(lines):
        head, _, content = line.partition(":")
        calls = int(head[1:] or 0)
        turns.append(
            turn(
                ROLES[head[0]],
                content.strip(),
                f"{conversation}{number}",
                conversation=conversation,
                calls=calls,
            )
        )
    return turns


def last_decision(*lines: str) -> DecisionPoint:
    """Return the last decision point of a conversation."""
    return segment(talk(*lines))[-1]


def correction(verdict: str = "ignored", **fields: str) -> CorrectionPayload:
    """Make a correction of the turn c1."""
    base = {"event_id": "k1", "conversation_id": "c", "turn_event_id": "c1", "verdict": verdict}
    return CorrectionPayload.model_validate({**base, **fields})
