"""Which rehearsals of a correction were tried."""

from __future__ import annotations

from rows import add_decision, correction, general

from policies.example import Example
from store import examples, rehearsals
from store.database import Store


def test_each_correction_that_waits_knows_its_own_attempts(store: Store) -> None:
    with store.write() as connection:
        for name in ("a", "b", "c"):
            examples.insert(connection, correction(name, None), 2)
    made = [
        correction(f"{parent}~{number}", None).model_copy(update={"parent": parent})
        for parent, number in (("a", 0), ("a", 1), ("b", 0))
    ]
    assert rehearsals.add(store, made, 2) == made
    assert [(one.correction.id, sorted(one.tried)) for one in rehearsals.waiting(store)] == [
        ("a", ["a~0", "a~1"]),
        ("b", ["b~0"]),
        ("c", []),
    ]


def ordinary(example_id: str, *asked: str) -> Example:
    """Return an ordinary turn of the agent's log."""
    context = tuple({"role": "user", "content": question} for question in asked)
    return Example(id=example_id, kind="general", context=context, chosen="Yes.", origin="ordinary")


def test_what_is_rehearsed_on_is_the_agents_own_log_newest_first_and_then_the_pool(store: Store) -> None:
    with store.write() as connection:
        examples.add_general_example(connection, general("base-1"))
        examples.add_general_example(connection, ordinary("o1", "Who is in?"))
        examples.add_general_example(connection, ordinary("o2", "First question", "second question"))
        examples.add_general_example(connection, ordinary("o3", "What is left to do?"))
    assert rehearsals.prompts(store) == ["What is left to do?", "Who is in?", "What is a lake?"]


def test_standing_directions_of_the_log_are_those_that_nobody_corrected(store: Store) -> None:
    add_decision(store, "t1", "c1")
    add_decision(store, "t2", "c2")
    with store.write() as connection:
        connection.execute("UPDATE directions SET text = 'Be brief.' WHERE id = 't2/0'")
        connection.execute("INSERT INTO directions VALUES ('t2/1', 'c2', 't2', 'Say it once.', 'immediate')")
    assert sorted(rehearsals.standing_directions(store)) == ["Answer in lowercase.", "Be brief."]
    with store.write() as connection:
        examples.insert(connection, correction("a", "t1#0"), 2)  # corrects "Answer in lowercase."
    assert rehearsals.standing_directions(store) == ["Be brief."]
