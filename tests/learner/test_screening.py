"""Batches before they are applied: who may fill them, and what stands out."""

from __future__ import annotations

import pytest

from learner.screening import Screening
from learner.tokens import Row
from learner.trainer import Gradients
from policies.config import Config, TrustConfig
from policies.example import Example
from store import examples, reviews, steps
from store.database import Store

TRUST = TrustConfig(default="normal", outlier_after=4, window=8)


@pytest.fixture
def taught(store: Store) -> Store:
    """Five examples of ana, trained once each with much the same loss, and one new one of mallory."""
    with store.write() as connection:
        connection.execute(
            "INSERT INTO versions (id, kind, moments, fingerprint, state, created)"
            " VALUES ('v', 'base', 'kept', 'f', 'good', 1)"
        )
    for number in range(5):
        add(store, f"a{number}", "ana")
        train(store, f"a{number}", loss=1.0 + number / 10, norm=2.0)
    add(store, "m", "mallory")
    return store


def add(store: Store, name: str, author: str) -> None:
    """Write the turn, the decision and the correction example of one author."""
    with store.write() as connection:
        connection.execute(
            "INSERT INTO events (event_id, agent, conversation_id, role, content, ts, source, received)"
            " VALUES (?, 'a', ?, 'assistant', 'Hello.', 1, 'mqtt', 1)",
            (name, author),
        )
        connection.execute("INSERT INTO decisions VALUES (?, ?, ?, 0, 1)", (f"{name}#0", author, name))
        examples.upsert_correction_example(connection, correction(name, f"{name}#0", author), 4)


def correction(name: str, decision: str | None, author: str | None = None) -> Example:
    return Example(
        id=name,
        kind="correction",
        decision_id=decision,
        direction="Answer in lowercase.",
        context=({"role": "user", "content": "Hi"},),
        chosen="hello.",
        rejected="Hello.",
        origin="correction",
        author=author,
    )


def train(store: Store, name: str, *, loss: float, norm: float) -> None:
    with store.write() as connection:
        step = steps.begin(connection, "v", 1e-4, [("correction", name)])
        detail = {"gradient_norm": norm}
        steps.confirm(
            connection, step, loss=loss, row_losses=[loss], seconds=1, changed_bytes=1, detail=detail
        )


def row(name: str) -> Row:
    return Row(name, "correction", (1,), (2,), (3,), (True,), None, None, 1.0)


def gradients(loss: float, norm: float) -> Gradients:
    return Gradients(loss, (loss,), norm, True, 0.1, {})


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [(1.2, 2.0, None), (40.0, 2.0, "its loss of 40"), (1.2, 90.0, "gradient of its batch")],
)
def test_an_outlier_of_a_stranger_is_named(taught: Store, loss: float, norm: float, said: str | None) -> None:
    found = Screening(taught, Config(trust=TRUST)).outliers([row("m")], gradients(loss, norm))
    assert (found == {}) if said is None else (said in found["m"])


def test_who_is_trusted_or_was_trained_on_before_is_no_suspect(taught: Store) -> None:
    strange = gradients(40.0, 90.0)
    assert Screening(taught, Config(trust=TRUST)).outliers([row("a1")], strange) == {}
    friends = TRUST.model_copy(update={"trusted": ("agent:a",)})
    assert Screening(taught, Config(trust=friends)).outliers([row("m")], strange) == {}


def test_what_a_person_has_accepted_is_no_suspect(taught: Store) -> None:
    with taught.write() as connection:
        examples.hold(connection, ["m"], "strange")
        reviews.decide(connection, "example", "m", "accepted")
        examples.release(connection, "m")
    assert Screening(taught, Config(trust=TRUST)).outliers([row("m")], gradients(40.0, 90.0)) == {}


def test_an_author_with_more_than_their_share_waits_for_others(taught: Store) -> None:
    screening = Screening(taught, Config(trust=TRUST))
    pending = examples.pending(taught)
    assert {usable.example.author for usable in pending} == {"ana", "mallory"}
    assert [usable.example.id for usable in screening.may_train(pending, 2)] == ["m"]
    alone = [usable for usable in pending if usable.example.author == "ana"]
    assert screening.may_train(alone, 2) == alone


def test_a_rehearsal_is_of_whom_its_correction_is(taught: Store) -> None:
    with taught.write() as connection:
        rehearsal = correction("r", None).model_copy(update={"parent": "m"})
        examples.upsert_correction_example(connection, rehearsal, 4)
    assert "r" in Screening(taught, Config(trust=TRUST)).outliers([row("r")], gradients(40.0, 2.0))


def test_without_a_sender_everything_is_trusted(store: Store) -> None:
    with store.write() as connection:
        examples.upsert_correction_example(connection, correction("e", None), 4)
    screening = Screening(store, Config(trust=TRUST))
    assert len(screening.may_train(examples.pending(store), 2)) == 1
    assert screening.outliers([row("e")], gradients(1e9, 1e9)) == {}
