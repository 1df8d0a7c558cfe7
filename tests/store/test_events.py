from __future__ import annotations

from policies.turn import ToolCall, Turn
from store import counters, events
from store.database import Store

CALL = ToolCall(id="c1", name="look", arguments='{"at": "x"}')


def turn(event_id: str, conversation_id: str = "c", role: str = "user", **fields: object) -> Turn:
    return Turn(event_id=event_id, conversation_id=conversation_id, role=role, ts=1, **fields)


def test_turn_comes_back_as_it_went_in(store: Store) -> None:
    said = turn(
        "e1",
        role="assistant",
        content="\x00 ü",
        tool_calls=(CALL,),
        model="m",
        weight_version="v:3",
        interrupted=True,
    )
    answered = turn("e2", role="tool", content="found", tool_call_id="c1")
    with store.write() as connection:
        assert events.insert(connection, "a", [said, answered], "mqtt") == [said, answered]
    assert events.conversation(store.connection, "c")[0] == [said, answered]
    assert events.get(store.connection, "e1") == said
    assert events.get(store.connection, "e3") is None


def test_event_is_kept_once_and_repetitions_are_counted(store: Store) -> None:
    first, changed = turn("e1", content="first"), turn("e1", content="second")
    with store.write() as connection:
        assert events.insert(connection, "a", [first, changed], "mqtt") == [first]
        assert events.insert(connection, "b", [first], "log:/x") == []
    assert events.conversation(store.connection, "c")[0] == [first]
    assert counters.read(store) == {"turns": 1, "turns_duplicate": 2}


def test_conversation_keeps_the_order_of_arrival(store: Store) -> None:
    mixed = [turn("b"), turn("x", "other"), turn("a")]
    with store.write() as connection:
        events.insert(connection, "a", mixed, "mqtt")
    assert [t.event_id for t in events.conversation(store.connection, "c")[0]] == ["b", "a"]


def test_conversation_is_read_on_from_a_place(store: Store) -> None:
    with store.write() as connection:
        events.insert(connection, "a", [turn("a"), turn("b")], "mqtt")
        both, place = events.conversation(connection, "c")
        events.insert(connection, "a", [turn("d", "other"), turn("e")], "mqtt")
        more, last = events.conversation(connection, "c", place)
        assert events.conversation(connection, "c", last) == ([], last)
    assert ([t.event_id for t in both], [t.event_id for t in more]) == (["a", "b"], ["e"])
