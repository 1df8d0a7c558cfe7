"""Rows for tests of the store: an answered turn with its decision point, and examples of it."""

from __future__ import annotations

from policies.example import Example
from store.database import Store


def add_decision(store: Store, turn: str = "t1", conversation: str = "c1") -> str:
    """Write an assistant turn with one direction and one decision; returns the decision's id."""
    with store.write() as connection:
        connection.execute(
            "INSERT INTO events (event_id, agent, conversation_id, role, content, ts, source, received)"
            " VALUES (?, 'a', ?, 'assistant', 'Hello.', 1, 'test', 1)",
            (turn, conversation),
        )
        connection.execute(
            "INSERT INTO directions VALUES (?, ?, ?, 'Answer in lowercase.', 'standing')",
            (f"{turn}/0", conversation, turn),
        )
        connection.execute("INSERT INTO decisions VALUES (?, ?, ?, 0, 1)", (f"{turn}#0", conversation, turn))
        connection.execute("INSERT INTO decision_directions VALUES (?, ?)", (f"{turn}#0", f"{turn}/0"))
    return f"{turn}#0"


def correction(
    example_id: str, decision: str | None, origin: str = "correction", state: str = "ready"
) -> Example:
    """Return a correction example of a decision."""
    return Example.model_validate(
        {
            "id": example_id,
            "kind": "correction",
            "decision_id": decision,
            "direction": "Answer in lowercase.",
            "context": ({"role": "user", "content": "Hi"},),
            "chosen": "hello.",
            "rejected": "Hello.",
            "origin": origin,
            "state": state,
        }
    )


def general(example_id: str) -> Example:
    """Return a general example of the base model's pool."""
    context = ({"role": "user", "content": "What is a lake?"},)
    return Example(id=example_id, kind="general", context=context, chosen="Water.", origin="base")
