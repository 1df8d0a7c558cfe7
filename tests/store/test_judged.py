"""Judged answers come out with their context, their right answer, or the reason why not."""

from __future__ import annotations

from collections import Counter

import pytest
from rows import correction

from policies.choosing import Wanted
from policies.label import Label, Verdict
from policies.training_shapes import Judged
from store import corrections, examples, labels, quarantine, reviews
from store.database import Store
from store.judged import judged

SPOKEN = (("system", "Write lowercase."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Hm"))


def say(store: Store, name: str, verdict: Verdict = "ignored", ts: int = 1) -> str:
    """Write a conversation whose answer has a sure label; returns the decision's id."""
    with store.write() as connection:
        for place, (role, text) in enumerate(SPOKEN):
            connection.execute(
                "INSERT INTO events (event_id, agent, conversation_id, role, content, ts, source, received)"
                " VALUES (?, 'a', ?, ?, ?, ?, 'test', 1)",
                (f"{name}{place}", name, role, text, ts),
            )
        turn = f"{name}2"
        connection.execute(
            "INSERT INTO directions VALUES (?, ?, ?, ?, 'standing')",
            (f"{name}0/0", name, f"{name}0", SPOKEN[0][1]),
        )
        connection.execute("INSERT INTO decisions VALUES (?, ?, ?, 0, 1)", (f"{turn}#0", name, turn))
        connection.execute("INSERT INTO decision_directions VALUES (?, ?)", (f"{turn}#0", f"{name}0/0"))
        label = Label(
            decision_id=f"{turn}#0",
            direction_id=f"{name}0/0",
            verdict=verdict,
            confidence=0.95,
            labeller="constraint",
        )
        labels.replace(connection, f"{turn}#0", [label])
    return f"{turn}#0"


def pair(store: Store, name: str) -> str:
    """Give an ignored answer its example; returns the example's id."""
    decision = say(store, name)
    with store.write() as connection:
        examples.insert(connection, correction(f"e-{name}", decision), 2)
    return f"e-{name}"


def read(store: Store, **wanted: object) -> tuple[dict[str, Judged], Counter[str]]:
    left_out: Counter[str] = Counter()
    found = judged(store, Wanted.model_validate(wanted), 10_000, left_out)
    return {one.id: one for one in found}, left_out


def test_a_followed_answer_is_right_and_an_ignored_one_wrong(store: Store) -> None:
    say(store, "a", "followed")
    say(store, "b")
    pair(store, "c")
    found, left_out = read(store)
    context = ({"role": "system", "content": "Write lowercase."}, {"role": "user", "content": "Hi"})
    said = {"role": "assistant", "content": "Hello."}
    assert (found["a2"].context, found["a2"].right, found["a2"].wrong) == (context, said, None)
    assert (found["b2"].context, found["b2"].right, found["b2"].wrong) == (context, None, said)
    assert (found["c2"].right, found["c2"].wrong) == ({"role": "assistant", "content": "hello."}, said)
    assert not left_out


def test_filters_take_some_and_count_the_rest(store: Store) -> None:
    say(store, "a", "followed", ts=5)
    say(store, "b", ts=9)
    say(store, "c", "unknown", ts=9)
    assert read(store, since=6)[0].keys() == {"b2"}
    assert read(store, verdict="followed")[0].keys() == {"a2"}
    assert read(store, direction="LOWER")[0].keys() == {"a2", "b2"}
    assert read(store, labeller="judge") == (
        {},
        Counter({"said by another labeller": 2, "followed or ignored: unknown": 1}),
    )
    assert read(store, min_confidence=0.99)[1]["less sure than 0.99"] == 2


def test_what_is_held_or_quarantined_stays_out_unless_asked_for(store: Store) -> None:
    quarantined, held, waits = pair(store, "q"), pair(store, "h"), say(store, "w")
    with store.write() as connection:
        examples.quarantine(connection, [quarantined])
        examples.hold(connection, [held], "who is this?")
        connection.execute(
            "INSERT INTO corrections VALUES ('k', 'a', 'w', ?, ?, NULL, NULL, NULL, 'held', 1, 'cli')",
            (waits.partition("#")[0], "ignored"),
        )
    found, left_out = read(store)
    assert not found
    assert left_out == {"quarantined": 1, "held for a person's word": 2}
    assert read(store, include=["quarantined"])[0].keys() == {"q2"}
    assert read(store, include=["held"])[0].keys() == {"h2", "w2"}
    assert corrections.get(store.connection, "k") is not None


def test_what_a_person_refused_never_comes_out(store: Store) -> None:
    quarantined, held = pair(store, "q"), pair(store, "h")
    with store.write() as connection:
        examples.quarantine(connection, [quarantined])
        quarantine.decide(connection, quarantined, "dropped")
        examples.hold(connection, [held], "who is this?")
        reviews.decide(connection, "example", held, "refused")
    found, left_out = read(store, include=["quarantined", "held"])
    assert not found
    assert left_out == {"refused by a person": 2}


def test_rehearsals_come_only_when_asked_for(store: Store) -> None:
    parent = pair(store, "a")
    other = correction("r", None, "rehearsal:repair").model_copy(update={"parent": parent})
    with store.write() as connection:
        examples.insert(connection, other, 2)
    assert read(store) == ({"a2": read(store)[0]["a2"]}, Counter({"rehearsal of a correction": 1}))
    assert read(store, include=["rehearsals"])[0].keys() == {"a2", "r"}


def test_several_calls_of_one_message_are_one_answer_by_its_worst_label(store: Store) -> None:
    say(store, "a", "followed")
    with store.write() as connection:
        connection.execute("INSERT INTO decisions VALUES ('a2#1', 'a', 'a2', 1, 1)")
        second = {"verdict": "ignored", "confidence": 0.99, "labeller": "constraint"}
        labels.replace(
            connection, "a2#1", [Label.model_validate(second | {"decision_id": "a2#1", "direction_id": None})]
        )
    found, _ = read(store)
    assert found["a2"].right is None
    assert found["a2"].wrong is not None


def test_a_long_context_keeps_what_gives_direction_and_the_newest(store: Store) -> None:
    say(store, "a", "followed")
    with store.write() as connection:
        connection.execute("UPDATE events SET content = ? WHERE event_id = 'a1'", ("x" * 500,))
    (only,) = list(judged(store, Wanted(), 100, Counter()))
    assert [message["role"] for message in only.context] == ["system"]


@pytest.mark.parametrize("content", ["", "  "])
def test_an_answer_without_text_is_counted(store: Store, content: str) -> None:
    say(store, "a", "followed")
    with store.write() as connection:
        connection.execute("UPDATE events SET content = ? WHERE event_id = 'a2'", (content,))
    assert sum(read(store)[1].values()) == 1
