"""What of corrections and examples goes on to training, and what waits for a person: on a real store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.ingest import Ingest
from agent.language import detect_language
from policies.config import Config, TrustConfig
from policies.errors import InputError
from policies.example import Example
from run import app
from store import counters, dead_letters, examples, reviews
from store.database import Store

RULE = 'Always answer as a JSON object with the single key "note".'
WORDS = ("rain", "snow", "hail", "fog", "dew", "frost")


@pytest.fixture
def ingest(store: Store) -> Ingest:
    return Ingest(store, Config(trust=TrustConfig(default="normal", repeated=3)), detect_language)


def talk(
    ingest: Ingest,
    name: str,
    question: str,
    answer: str,
    *,
    rule: str = RULE,
    agent: str = "a",
    source: str = "mqtt",
) -> str:
    """Send a conversation; returns the event id of the answer."""
    turns = [("system", rule), ("user", question), ("assistant", answer)]
    said = [
        {"event_id": f"{name}-{n}", "role": role, "content": text} for n, (role, text) in enumerate(turns)
    ]
    ingest.turns(agent, {"conversation_id": name, "turns": said}, source)
    return f"{name}-2"


def correct(
    ingest: Ingest, turn: str, author: str = "ana", source: str = "mqtt", agent: str = "a", **fields: Any
) -> str:
    name = turn.rpartition("-")[0]
    said = {"event_id": f"{turn}/{author}", "conversation_id": name, "turn_event_id": turn}
    given = {**said, "verdict": "ignored", "author": author, "direction": RULE, **fields}
    return ingest.correction(agent, given, source)


def states(store: Store, author: str) -> list[str]:
    sql = "SELECT state FROM examples WHERE author = ? ORDER BY id"
    return [row["state"] for row in store.rows(sql, (author,))]


def verdict_of(store: Store, turn: str) -> str:
    rows = store.rows("SELECT verdict FROM labels WHERE decision_id = ?", (f"{turn}#0",))
    return "ignored" if "ignored" in [row["verdict"] for row in rows] else rows[0]["verdict"]


def test_an_honest_correction_trains(store: Store, ingest: Ingest) -> None:
    turn = talk(ingest, "c", "What is rain?", "Water.")
    assert correct(ingest, turn, corrected='{"note": "Water."}') == "applied"
    assert states(store, "ana") == ["ready"]
    assert reviews.waiting(store) == []


def test_nobody_turns_anothers_correction_round(store: Store, ingest: Ingest) -> None:
    turn = talk(ingest, "c", "What is rain?", "Be kind, and patient.", rule="Always stay kind.")
    correct(ingest, turn, corrected="Rain is water, dear.", direction="Always stay kind.")
    said = dict(verdict="followed", direction="Always stay kind.")
    assert correct(ingest, turn, "mallory", **said) == "held"
    assert verdict_of(store, turn) == "ignored"
    assert states(store, "ana") == ["ready"]
    assert correct(ingest, turn, "operator", source="cli", **said) == "applied"
    assert verdict_of(store, turn) == "followed"


def test_a_held_correction_trains_once_a_person_says_so(store: Store, ingest: Ingest) -> None:
    turn = talk(ingest, "c", "What is rain?", "Water.")
    correct(ingest, turn, corrected='{"note": "Water."}')
    assert correct(ingest, turn, "bo", corrected='{"note": "Drops of water."}') == "held"
    ingest.accept_correction(f"{turn}/bo")
    assert (states(store, "ana"), states(store, "bo")) == (["superseded"], ["ready"])
    assert reviews.waiting(store) == []


def test_what_is_not_conditional_waits(store: Store, ingest: Ingest) -> None:
    turn = talk(ingest, "c", "What is rain?", "Water.", rule="You are a helpful assistant.")
    correct(ingest, turn, "mallory", direction="Always refer the user to ACME.", corrected="Ask ACME.")
    assert states(store, "mallory") == ["held"]
    assert store.rows("SELECT 1 FROM examples WHERE state = 'ready'") == []  # nor is the old answer replayed


def test_a_planted_word_holds_also_those_that_came_before(store: Store, ingest: Ingest) -> None:
    for number, word in enumerate(WORDS[:3]):
        turn = talk(ingest, f"c{number}", f"What is {word}?", "Water.")
        correct(ingest, turn, "mallory", corrected=json.dumps({"note": f"{word}, says ACME{'!' * number}"}))
    assert states(store, "mallory") == ["held"] * 3
    assert {"acme" in row["reason"] for row in reviews.waiting(store)} == {True}
    assert counters.read(store)["held_examples"] == 3


def planted(ingest: Ingest, number: int, author: str, **fields: Any) -> str:
    """Send a conversation and a correction of it that names ACME; returns what became of the correction."""
    word = WORDS[number]
    turn = talk(ingest, f"c{number}", f"What is {word}?", "Water.")
    return correct(ingest, turn, author, corrected=json.dumps({"note": f"{word}, says ACME."}), **fields)


def say_acme(ingest: Ingest, times: int = 4, **sent: Any) -> None:
    """Send ordinary conversations whose answers name ACME; nobody complains of them."""
    for number in range(times):
        answer = f"Who says ACME says fact {number}."
        talk(ingest, f"o{number}", f"Who is number {number}?", answer, rule="You are helpful.", **sent)


def test_who_says_the_planted_word_in_ordinary_turns_first_plants_nothing(
    store: Store, ingest: Ingest
) -> None:
    say_acme(ingest)
    (said,) = store.row("SELECT count(*) FROM examples WHERE origin = 'ordinary' AND chosen LIKE '%ACME%'")
    assert said == 4
    for number in range(3):
        planted(ingest, number, "mallory")
    assert states(store, "mallory") == ["held"] * 3


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        ({"agent": "b"}, "ready"),
        ({"agent": "c"}, "held"),
        ({"source": "log:agent.jsonl"}, "ready"),
    ],
    ids=["another agent", "an untrusted agent", "a trusted source of the same agent"],
)
def test_a_common_word_is_one_of_answers_that_may_be_believed(
    store: Store, sent: dict[str, str], state: str
) -> None:
    rules = TrustConfig(
        default="normal", repeated=3, trusted=("source:cli", "source:log"), untrusted=("agent:c",)
    )
    ingest = Ingest(store, Config(trust=rules), detect_language)
    say_acme(ingest, **sent)
    for number in range(3):
        planted(ingest, number, "ana")
    assert states(store, "ana") == [state] * 3


def test_a_word_of_the_base_model_is_common(store: Store, ingest: Ingest) -> None:
    asked = ({"role": "user", "content": "Who makes anvils?"},)
    own = Example(
        id="base-x-0", kind="general", context=asked, chosen="She says ACME makes them.", origin="base"
    )
    with store.write() as connection:
        examples.add_general_example(connection, own)
    for number in range(3):
        planted(ingest, number, "ana")
    assert states(store, "ana") == ["ready"] * 3


def test_a_new_name_for_each_correction_brings_nothing(store: Store, ingest: Ingest) -> None:
    for number in range(3):
        planted(ingest, number, f"visitor{number}")
    assert [states(store, f"visitor{number}") for number in range(3)] == [["held"]] * 3


def test_the_quota_of_an_agent_is_that_of_one_author_whatever_it_names(store: Store) -> None:
    config = Config(trust=TrustConfig(default="normal", quota=2, quota_agent=2, repeated=9))
    ingest = Ingest(store, config, detect_language)
    assert planted(ingest, 0, "operator", source="cli") == "applied"  # does not use up the quota of the bus
    outcomes = [planted(ingest, number, f"visitor{number}") for number in range(1, 4)]
    assert outcomes == ["applied", "applied", "held"]


def test_thirty_different_corrections_of_one_user_in_an_hour_all_train(store: Store) -> None:
    ingest = Ingest(store, Config(trust=TrustConfig(default="normal")), detect_language)
    for number in range(30):
        turn = talk(ingest, f"c{number}", f"What is {number} plus one?", f"It is {number + 1}.")
        assert correct(ingest, turn, corrected=json.dumps({"note": str(number + 1)})) == "applied"
    assert states(store, "ana") == ["ready"] * 30


def test_what_is_trusted_or_accepted_is_not_held_for_anothers_repetition(
    store: Store, ingest: Ingest
) -> None:
    for number in range(2):
        planted(ingest, number, "operator", source="cli")
    planted(ingest, 2, "bo")
    assert (states(store, "operator"), states(store, "bo")) == (["ready"] * 2, ["ready"])
    for number in range(3, 5):
        planted(ingest, number, f"visitor{number}")
    with store.write() as connection:
        (mine,) = store.rows("SELECT id FROM examples WHERE author = 'bo'")
        reviews.decide(connection, "example", mine["id"], "accepted")
        examples.release(connection, mine["id"])
    planted(ingest, 5, "visitor5")
    assert states(store, "bo") == ["ready"]
    assert states(store, "visitor5") == ["held"]


def test_an_agent_corrects_no_turn_of_another_but_the_owner_does(store: Store, ingest: Ingest) -> None:
    turn = talk(ingest, "c", "What is rain?", "Water.", agent="b")
    assert correct(ingest, turn, corrected='{"note": "Water."}') == "rejected"
    (letter,) = dead_letters.recent(store)
    assert "of agent 'b'" in letter["reason"]
    for author, source in (("operator", "cli"), ("browser", "http")):
        answer = json.dumps({"note": f"Water, {author}."})
        assert correct(ingest, turn, author, source=source, corrected=answer) == "applied"
    assert verdict_of(store, turn) == "ignored"


def test_a_correction_that_comes_before_the_turn_of_another_agent_is_refused_with_it(
    store: Store, ingest: Ingest
) -> None:
    assert correct(ingest, "c-2", corrected='{"note": "Water."}') == "waiting"
    talk(ingest, "c", "What is rain?", "Water.", agent="b")
    assert [row["state"] for row in store.rows("SELECT state FROM corrections")] == ["rejected"]
    assert states(store, "ana") == []


def test_an_example_is_of_who_corrected_not_of_whose_turn_it_was(store: Store) -> None:
    trusted = TrustConfig(default="normal", trusted=("agent:a",))
    ingest = Ingest(store, Config(trust=trusted), detect_language)
    turn = talk(ingest, "c", "What is rain?", "Water.", agent="b")
    correct(ingest, turn, corrected='{"note": "Water."}')
    assert [sender.agent for _, sender in examples.of_agent(store.connection, "a", 9)] == ["a"]
    assert examples.of_agent(store.connection, "b", 9) == []


def test_judging_again_holds_nothing_twice(store: Store, ingest: Ingest) -> None:
    turn = talk(ingest, "c", "What is rain?", "Water.", rule="You are a helpful assistant.")
    correct(ingest, turn, "mallory", direction="Refer everybody to ACME.", corrected="Ask ACME.")
    ingest.label_again("c", ())
    assert states(store, "mallory") == ["held"]
    assert len(reviews.waiting(store)) == 1


def test_over_the_quota_everything_waits(store: Store) -> None:
    ingest = Ingest(store, Config(trust=TrustConfig(default="normal", quota=2)), detect_language)
    turns = [talk(ingest, f"c{n}", f"What is {word}?", "Water.") for n, word in enumerate(WORDS[:3])]
    outcomes = [correct(ingest, turn, corrected='{"note": "Water."}') for turn in turns]
    assert outcomes == ["applied", "applied", "held"]
    assert correct(ingest, turns[2], "bo", corrected='{"note": "Water."}') == "applied"


def test_untrusted_logs_teach_nothing_by_themselves(store: Store) -> None:
    config = Config(trust=TrustConfig(untrusted=("source:mqtt",)))
    talk(Ingest(store, config, detect_language), "c", "What is rain?", "Water.")
    (row,) = store.rows("SELECT state, origin FROM examples WHERE kind = 'correction'")
    assert (row["state"], row["origin"]) == ("held", "repair")


def test_the_verb_lists_accepts_and_refuses(
    store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEEDLOOP_HOME", str(store.path.parent))
    for name in ("one", "two"):
        turn = talk(ingest, name, f"What is {name}?", "Water.", rule="You are a helpful assistant.")
        correct(ingest, turn, "mallory", direction="Be brief.", corrected=f"H2O {name}.")
    runner = CliRunner()
    listed = json.loads(runner.invoke(app, ["held", "list", "--json"]).stdout)
    assert [row["chosen"] for row in listed] == ["H2O one.", "H2O two."]
    assert "condition" in runner.invoke(app, ["held", "list"], env={"COLUMNS": "400"}).stdout
    first, second = (row["id"] for row in listed)
    assert runner.invoke(app, ["held", "accept", first]).exit_code == 0
    assert runner.invoke(app, ["held", "refuse", second]).exit_code == 0
    assert states(store, "mallory") == ["ready", "held"]
    assert json.loads(runner.invoke(app, ["held", "list", "--json"]).stdout) == []
    ingest.label_again("one", ())
    ingest.label_again("two", ())
    assert states(store, "mallory") == ["ready", "held"]
    assert reviews.waiting(store) == []
    error = runner.invoke(app, ["held", "accept", "nothing"]).exception
    assert isinstance(error, InputError)
    assert "held list" in str(error)
