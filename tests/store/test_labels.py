from __future__ import annotations

import sqlite3

import pytest

from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.label import Label
from policies.turn import Turn
from store import decisions, events, labels
from store.database import Store

TURN = Turn(event_id="e2", conversation_id="c", role="assistant", content="hi", ts=1)
RULE = Direction(id="e1/0", conversation_id="c", event_id="e1", text="Be brief.", scope="standing")
POINT = DecisionPoint(conversation_id="c", turn=TURN, call_index=0, context=(), directions=(RULE,))


def label(verdict: str, labeller: str, direction: str | None = "e1/0", confidence: float = 0.9) -> Label:
    return Label(
        decision_id=POINT.id,
        direction_id=direction,
        verdict=verdict,
        confidence=confidence,
        labeller=labeller,
    )


@pytest.fixture(autouse=True)
def _decision(store: Store) -> None:
    with store.write() as connection:
        events.insert(connection, "a", [TURN], "mqtt")
        assert decisions.insert(connection, POINT)
        assert not decisions.insert(connection, POINT)


def test_only_what_changed_is_returned(store: Store) -> None:
    with store.write() as connection:
        unknown, whole = label("unknown", "none", confidence=0.0), label("followed", "reaction", None)
        assert labels.replace(connection, POINT.id, [unknown, whole]) == [unknown, whole]
        assert labels.replace(connection, POINT.id, [unknown, whole]) == []
        ignored = label("ignored", "constraint")
        assert labels.replace(connection, POINT.id, [ignored, whole]) == [ignored]


def test_another_labeller_takes_the_word_over(store: Store) -> None:
    """A correction that says `followed` must not leave the constraint's `ignored` standing beside it."""
    with store.write() as connection:
        labels.replace(connection, POINT.id, [label("ignored", "constraint")])
        labels.replace(connection, POINT.id, [label("followed", "correction", confidence=1.0)])
        assert labels.of(connection, POINT.id) == [label("followed", "correction", confidence=1.0)]


def test_directions_are_linked_once(store: Store) -> None:
    stated = Direction(id="k1/0", conversation_id="c", event_id="k1", text="In French.", scope="once")
    with store.write() as connection:
        decisions.insert_directions(connection, POINT.id, iter([stated, RULE]))
    rows = store.rows("SELECT direction_id FROM decision_directions ORDER BY direction_id")
    assert [row["direction_id"] for row in rows] == ["e1/0", "k1/0"]


def test_decision_of_an_unknown_turn_is_refused(store: Store) -> None:
    foreign = POINT.model_copy(update={"turn": TURN.model_copy(update={"event_id": "nowhere"})})
    with pytest.raises(sqlite3.IntegrityError), store.write() as connection:
        decisions.insert(connection, foreign)


def test_what_was_said_before_stays_in_the_history(store: Store) -> None:
    with store.write() as connection:
        for verdict in ("ignored", "followed", "ignored"):
            labels.replace(connection, POINT.id, [label(verdict, "constraint")])
            labels.replace_votes(connection, POINT.id, [label(verdict, "constraint")])
    rows = labels.history(store.connection, POINT.id)
    assert [(row["kind"], row["verdict"]) for row in rows if row["kind"] == "labels"] == [
        ("labels", "ignored"),
        ("labels", "followed"),
    ]
    assert all(row["replaced"] >= row["created"] for row in rows)
    assert len(rows) == 4


def test_votes_of_one_labeller_leave_the_others_alone(store: Store) -> None:
    plain, judged = label("ignored", "reaction"), label("followed", "judge")
    with store.write() as connection:
        labels.replace_votes(connection, POINT.id, [plain, judged])
        again = label("followed", "reaction")
        assert labels.replace_votes(connection, POINT.id, [again], labellers=("reaction",)) == [again]
        assert labels.votes_on(connection, POINT.id) == [judged, again]


@pytest.mark.parametrize(
    ("vote", "kept", "found"),
    [
        (label("ignored", "reaction", confidence=0.55), [], 1),
        (label("ignored", "reaction", confidence=0.1), [], 0),
        (label("unknown", "judge", confidence=0.55), [], 0),
        (label("ignored", "judge", confidence=0.55), [label("followed", "constraint", confidence=0.97)], 0),
    ],
)
def test_uncertain_is_what_has_a_vote_and_no_sure_label(
    store: Store, vote: Label, kept: list[Label], found: int
) -> None:
    with store.write() as connection:
        labels.replace_votes(connection, POINT.id, [vote])
        labels.replace(connection, POINT.id, kept)
    assert len(labels.uncertain(store.connection, 0.2, 0.9, 10)) == found
