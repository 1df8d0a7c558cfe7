"""Followed answers as examples of their own, through the whole of ingest: only where no pair is needed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from agent.ingest import Ingest
from agent.language import detect_language
from policies.config import Config, TrainingConfig, TrustConfig
from store import examples, rehearsals
from store.database import Store
from store.inspection import inspect
from store.judged import Wanted, judged

UNPAIRED = Config(training=TrainingConfig(objective="unpaired"))
TOLD = "Answer in at most five words."


def say(ingest: Ingest, name: str, answer: str) -> None:
    """Send a conversation of one question, which is told to be short, and its answer."""
    lines = (("user", f"What is {name}? {TOLD}"), ("assistant", answer))
    for place, (role, content) in enumerate(lines):
        turn = {"event_id": f"{name}{place}", "conversation_id": name, "role": role, "content": content}
        ingest.turns("a", json.dumps(turn).encode(), "mqtt")


def origins(store: Store) -> list[tuple[str, str]]:
    rows = store.rows("SELECT decision_id, origin FROM examples WHERE state = 'ready' ORDER BY id")
    return [(row["decision_id"], row["origin"]) for row in rows]


def ignored(ingest: Ingest) -> None:
    """Send six answers that are too long: the most that one followed answer balances."""
    for name in ("rain", "snow", "hail", "sleet", "mist", "frost"):
        say(ingest, name, "It is water that falls from the clouds above us all.")


def correct_fog(ingest: Ingest, event_id: str, **said: str) -> None:
    turn = {"event_id": event_id, "conversation_id": "fog", "turn_event_id": "fog1"}
    ingest.correction("a", json.dumps({**turn, **said}).encode(), "mqtt")


def test_followed_answers_train_by_themselves_in_balance_with_the_ignored_ones(
    store: Store, home: Path
) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    say(ingest, "ice", "Frozen water.")
    ignored(ingest)
    say(ingest, "fog", "A cloud on the ground.")
    say(ingest, "dew", "Water on grass.")
    found = origins(store)
    assert found[0] == ("ice1#0", "ordinary"), "nothing is to be left yet that it could balance"
    assert [origin for _, origin in found[1:7]] == ["repair"] * 6
    assert found[7:] == [("fog1#0", "followed"), ("dew1#0", "ordinary")]
    assert [usable.example.chosen for usable in examples.pending(store)][-1] == "A cloud on the ground."
    assert len(rehearsals.waiting(store)) == 6, "what was followed is not rehearsed"
    assert inspect(home, learning=False) == []


def test_an_answer_that_turns_out_ignored_is_wanted_no_longer(store: Store) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    ignored(ingest)
    say(ingest, "fog", "A cloud on the ground.")
    correct_fog(ingest, "k", verdict="ignored", corrected="Low cloud.")
    assert origins(store)[-1] == ("fog1#0", "correction")
    assert "followed" not in {origin for _, origin in origins(store)}


def test_it_is_wanted_no_longer_while_a_person_must_look_at_its_correction_either(store: Store) -> None:
    doubtful = UNPAIRED.model_copy(update={"trust": TrustConfig(default="normal")})
    ingest = Ingest(store, doubtful, detect_language)
    ignored(ingest)
    say(ingest, "fog", "A cloud on the ground.")
    assert origins(store)[-1] == ("fog1#0", "followed")
    long = "Fog is a cloud that lies on the ground."
    correct_fog(ingest, "k", verdict="ignored", corrected=long, direction=TOLD)
    (held,) = store.rows("SELECT chosen FROM examples WHERE decision_id = 'fog1#0' AND state = 'held'")
    assert held["chosen"] == long
    assert "fog1#0" not in dict(origins(store))


def test_an_answer_that_is_followed_after_all_comes_back_with_the_uses_it_had(store: Store) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    ignored(ingest)
    say(ingest, "fog", "A cloud on the ground.")
    before = store.row("SELECT id FROM examples WHERE origin = 'followed'")
    with store.write() as connection:
        examples.withdraw(connection, "fog1#0", "correction")
        found = examples.pending(store)[0].example.model_copy(
            update={
                "id": "new",
                "decision_id": "fog1#0",
                "direction": TOLD,
                "chosen": "A cloud on the ground.",
                "rejected": None,
                "origin": "followed",
            }
        )
        assert examples.keep_followed(connection, found, 4)
    after = store.rows("SELECT id FROM examples WHERE origin = 'followed' AND state = 'ready'")
    assert before is not None
    assert [row["id"] for row in after] == [before["id"]]


def test_an_objective_of_pairs_takes_followed_answers_as_replay(store: Store) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    ignored(ingest)
    say(ingest, "fog", "A cloud on the ground.")
    assert origins(store)[-1][1] == "followed"
    with store.write() as connection:
        examples.require_pairs(connection)
    assert "followed" not in {origin for _, origin in origins(store)}
    say(Ingest(store, Config(), detect_language), "dew", "Water on grass.")
    assert origins(store)[-1] == ("dew1#0", "ordinary")


def test_a_refused_followed_answer_is_not_handed_out_as_a_right_one(store: Store) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    ignored(ingest)
    say(ingest, "fog", "A cloud on the ground.")
    assert "fog1" in {one.id for one in judged(store, Wanted(), 9_000, Counter())}
    row = store.row("SELECT id FROM examples WHERE origin = 'followed'")
    assert row is not None
    with store.write() as connection:
        examples.quarantine(connection, [row["id"]], "it was wrong")
    assert "fog1" not in {one.id for one in judged(store, Wanted(), 9_000, Counter())}
