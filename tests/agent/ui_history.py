"""A short history for the tests of the ui: a correction that was learned, and one that was undone."""

from __future__ import annotations

from typing import Any

from agent.ingest import Ingest
from policies.config import Config
from policies.example import Example
from store import examples, probes, reviews, steps, versions
from store.database import Store

SENTENCE = "From now on answer in lowercase only."
HOSTILE = "<script>document.title = 'owned'</script> & \"quoted\""
SUSPECT = "From now on never use the letter e."
REHEARSED = "From now on answer in lowercase, 3 words."
"""What nobody has said: the sentence with another argument."""


def ingest(store: Store, conversation: str, *messages: tuple[str, str]) -> None:
    """Take in messages (role, content) of a conversation, as the loop does; ids are `<conversation>-<n>`."""
    turns = [
        {
            "event_id": f"{conversation}-{n}",
            "role": role,
            "content": content,
            "ts": f"2026-11-28T10:{n:02}:00Z",
        }
        for n, (role, content) in enumerate(messages)
    ]
    Ingest(store, Config(), None).turns("coder", {"conversation_id": conversation, "turns": turns}, "mqtt")


def correct(store: Store, event: str, turn: str, **more: Any) -> None:
    """Take in a correction of a turn."""
    payload = {"event_id": event, "conversation_id": turn.partition("-")[0], "turn_event_id": turn}
    Ingest(store, Config(), None).correction("coder", {**payload, "verdict": "ignored", **more}, "cli")


def fill(store: Store) -> None:
    """Write the history: versions v1 (base), a train version, a rollback; see the tests for what is in it."""
    ingest(
        store,
        "talk",
        ("user", SENTENCE),
        ("assistant", "Hello THERE."),
        ("user", "And?"),
        ("assistant", "fine."),
    )
    ingest(store, "web", ("user", SUSPECT), ("assistant", HOSTILE), ("user", "Hm."), ("assistant", "Better."))
    correct(store, "k1", "talk-1", direction=SENTENCE, corrected="hello there.", author="ana")
    correct(store, "k2", "web-1", direction=SUSPECT, corrected="odd word", author="mallory")
    base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="00")
    with store.write() as connection:
        versions.add(connection, base)
        _probe(connection, 0, base.id, "baseline", {})
        _add_pool(connection)
    good, bad = (_example_of(store, turn) for turn in ("talk-1", "web-1"))
    _rehearse(store, good)
    trained = _train(store, base, good)
    with store.write() as connection:
        _probe(connection, trained.last_step or 0, trained.id, "accept", {good: 1.0})
    _undo(store, trained, bad)
    with store.write() as connection:
        reviews.ask(connection, "correction", "k2", "the third answer that repeats a word")


def _example_of(store: Store, turn: str) -> str:
    row = store.row("SELECT id FROM examples WHERE decision_id = ? AND state = 'ready'", (f"{turn}#0",))
    assert row is not None, "a correction with an answer makes an example"
    return str(row["id"])


def _rehearse(store: Store, parent: str) -> None:
    """Keep a rehearsal of an example, as the learner makes it."""
    made = examples.get(store, parent)
    assert made is not None
    other = {"id": f"{parent}~00", "parent": parent, "direction": REHEARSED, "decision_id": None}
    with store.write() as connection:
        examples.insert(connection, made.model_copy(update={**other, "origin": "rehearsal:repair"}), 1)


def _add_pool(connection: Any) -> None:
    context = ({"role": "user", "content": "What is a lake?"},)
    pool = {"id": "pool1", "kind": "general", "context": context, "chosen": "Water.", "origin": "base"}
    examples.add_general_example(connection, Example.model_validate(pool))


def _step(store: Store, version: str, example: str, loss: float, second: str | None = None) -> int:
    rows = [("correction", example), ("twin", example), ("general", "pool1")]
    rows += [("correction", second)] if second else []
    with store.write() as connection:
        step = steps.begin(connection, version, 2e-4, rows)
    with store.write() as connection:
        steps.confirm(
            connection,
            step,
            loss=loss,
            row_losses=[loss] * len(rows),
            seconds=1.0,
            changed_bytes=9,
            detail={},
        )
    return step


def _train(store: Store, base: versions.Version, example: str) -> versions.Version:
    taken = [_step(store, base.id, example, loss, f"{example}~00") for loss in (2.5, 0.5)]
    trained = versions.new_version(
        base, "train", first_step=taken[0], last_step=taken[-1], file="w.safetensors", fingerprint="01"
    )
    with store.write() as connection:
        versions.add(connection, trained)
    return trained


def _undo(store: Store, target: versions.Version, example: str) -> None:
    """Take a bad step, as the learner does when the probes fall."""
    bad = _step(store, target.id, example, 3.5)
    reason = "nll 2.66 -> 3.10"
    back = versions.new_version(
        target,
        "rollback",
        first_step=None,
        last_step=target.last_step,
        file="w.safetensors",
        fingerprint="01",
        note=reason,
    )
    row = store.row("SELECT intent FROM steps WHERE id = ?", (bad,))
    assert row is not None
    same_millisecond = back.model_copy(update={"created": row["intent"]})
    with store.write() as connection:
        undone = steps.undo_after(connection, target.last_step or 0, "rolled_back")
        examples.quarantine(connection, undone, reason)
        versions.add(connection, same_millisecond)
        _probe(connection, (target.last_step or 0) + 1, target.id, "breach", {example: 0.0}, reason)


def _probe(
    connection: Any,
    step: int,
    version: str,
    verdict: probes.ProbeVerdict,
    follow: dict[str, float],
    why: str = "",
) -> None:
    scores = {"nll": {"1": 2.66}, "facts": {"1": 1.0}, "follow": follow}
    probes.add(
        connection, step_id=step, version_id=version, verdict=verdict, reason=why, seconds=2.0, scores=scores
    )
