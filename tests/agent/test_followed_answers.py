"""Followed answers as examples of their own, through the whole of ingest: only where no pair is needed."""

from __future__ import annotations

import json

from agent.ingest import Ingest
from agent.language import detect_language
from policies.config import Config, TrainingConfig
from store import examples, rehearsals
from store.database import Store

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


def test_followed_answers_train_by_themselves_up_to_a_third_of_the_corrected_ones(store: Store) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    say(ingest, "ice", "Frozen water.")
    for name in ("rain", "snow", "hail"):
        say(ingest, name, "It is water that falls from the clouds above us all.")
    say(ingest, "fog", "A cloud on the ground.")
    say(ingest, "dew", "Water on grass.")
    found = origins(store)
    assert found[0] == ("ice1#0", "ordinary"), "nothing is to be left yet that it could balance"
    assert [origin for _, origin in found[1:4]] == ["repair"] * 3
    assert found[4:] == [("fog1#0", "followed"), ("dew1#0", "ordinary")]
    assert [usable.example.chosen for usable in examples.pending(store)][-1] == "A cloud on the ground."
    assert len(rehearsals.waiting(store)) == 3, "what was followed is not rehearsed"


def test_an_answer_that_turns_out_ignored_is_wanted_no_longer(store: Store) -> None:
    ingest = Ingest(store, UNPAIRED, detect_language)
    for name in ("rain", "snow", "hail"):
        say(ingest, name, "It is water that falls from the clouds above us all.")
    say(ingest, "fog", "A cloud on the ground.")
    correction = {
        "event_id": "k",
        "conversation_id": "fog",
        "turn_event_id": "fog1",
        "verdict": "ignored",
        "corrected": "Low cloud.",
    }
    ingest.correction("a", json.dumps(correction).encode(), "mqtt")
    assert origins(store)[-1] == ("fog1#0", "correction")
    assert "followed" not in {origin for _, origin in origins(store)}


def test_an_objective_of_pairs_takes_followed_answers_as_replay(store: Store) -> None:
    say(Ingest(store, UNPAIRED, detect_language), "rain", "It is water that falls from the clouds above us.")
    say(Ingest(store, UNPAIRED, detect_language), "snow", "It is water that falls from the clouds above us.")
    say(Ingest(store, UNPAIRED, detect_language), "hail", "It is water that falls from the clouds above us.")
    say(Ingest(store, UNPAIRED, detect_language), "fog", "A cloud on the ground.")
    assert origins(store)[-1][1] == "followed"
    with store.write() as connection:
        examples.require_pairs(connection)
    assert "followed" not in {origin for _, origin in origins(store)}
    say(Ingest(store, Config(), detect_language), "dew", "Water on grass.")
    assert origins(store)[-1] == ("dew1#0", "ordinary")
