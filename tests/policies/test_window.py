from __future__ import annotations

from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.turn import ToolCall, Turn
from policies.window import recent


def turn(event_id: str, role: str, content: str = "x" * 100, **fields: object) -> Turn:
    return Turn(event_id=event_id, conversation_id="c", role=role, content=content, ts=1, **fields)


def decision(*context: Turn, bound: str = "") -> DecisionPoint:
    rule = Direction(id="d", conversation_id="c", event_id=bound, text="Be brief.", scope="standing")
    return DecisionPoint(
        conversation_id="c",
        turn=turn("last", "assistant"),
        call_index=0,
        context=context,
        directions=(rule,) if bound else (),
    )


def kept(point: DecisionPoint, characters: int) -> list[str]:
    return [t.event_id for t in recent(point, characters).context]


def test_short_context_stays_whole() -> None:
    point = decision(turn("s", "system"), turn("u", "user"))
    assert recent(point, 200) is point


def test_oldest_turns_go_but_system_turns_and_directions_stay() -> None:
    talk = [turn(f"{n}", "assistant" if n % 2 else "user") for n in range(10)]
    point = decision(turn("s", "system"), *talk, bound="2")
    assert kept(point, 300) == ["s", "2", "7", "8", "9"]


def test_result_without_its_call_goes_too() -> None:
    call = ToolCall(id="k", name="f", arguments="{}")
    point = decision(
        turn("u", "user"),
        turn("call", "assistant", tool_calls=(call,)),
        turn("result", "tool", tool_call_id="k"),
        turn("answer", "assistant"),
    )
    assert kept(point, 200) == ["answer"]
    assert kept(point, 302) == ["call", "result", "answer"]
