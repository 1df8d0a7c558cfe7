"""The right answer to an ignored decision, found later in the conversation, through the whole of ingest."""

from __future__ import annotations

import json

import pytest

from agent.ingest import Ingest
from agent.language import detect_language
from policies.config import Config
from store.database import Store

SECOND = "Rain is water from clouds. The drops fall."
LINES = (
    ("system", "Always answer in at most ten words."),
    ("user", "What is rain?"),
    ("assistant", "Rain is water that falls from the clouds in drops when they have become too heavy."),
    ("user", "No, that is too long. At most ten words."),
    ("assistant", SECOND),
    ("user", "Perfect, thanks! And what is snow?"),
)


def kept(store: Store) -> tuple[str, str]:
    (row,) = store.rows("SELECT chosen, origin FROM examples WHERE kind = 'correction' AND state = 'ready'")
    return row["chosen"], row["origin"]


@pytest.mark.parametrize("at_once", [True, False])
def test_the_answer_that_the_user_let_stand_is_the_one_to_learn(store: Store, at_once: bool) -> None:
    ingest = Ingest(store, Config(), detect_language)
    turns = [
        {"event_id": f"t{place}", "conversation_id": "c", "role": role, "content": content}
        for place, (role, content) in enumerate(LINES)
    ]
    for part in [turns] if at_once else [[turn] for turn in turns]:
        ingest.turns("a", json.dumps({"conversation_id": "c", "turns": part}).encode(), "mqtt")
    assert kept(store) == (SECOND, "accepted")


def test_an_answer_complained_of_again_is_not(store: Store) -> None:
    ingest = Ingest(store, Config(), detect_language)
    said = [*LINES[:5], ("user", "Still wrong, I said no more than ten words about rain and clouds.")]
    for place, (role, content) in enumerate(said):
        turn = {"event_id": f"t{place}", "conversation_id": "c", "role": role, "content": content}
        ingest.turns("a", json.dumps(turn).encode(), "mqtt")
    assert kept(store)[1] != "accepted"
