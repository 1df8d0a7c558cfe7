"""From records to rows, on a real store."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.inbound import Inbound
from agent.ingest import Ingest
from agent.language import detect_language
from agent.sources.followed import FollowedFile
from policies.config import Config
from policies.directions import advance
from policies.labelling import judge
from store import commands, counters, dead_letters, offsets
from store.database import Store, open_store
from store.offsets import Offset
from store.status import summary
from store.wakeup import Listener

RULE = 'Always answer as a JSON object with the single key "note".'
BROKEN = "Rain is water that falls from clouds."
KEPT = '{"note": "Rain is water that falls from clouds."}'


@pytest.fixture
def ingest(store: Store) -> Ingest:
    return Ingest(store, Config(), detect_language)


def turn(event_id: str, role: str, content: str = "", **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "conversation_id": "c", "role": role, "content": content, **fields}


def correction(turn_event_id: str = "t3", **fields: Any) -> dict[str, Any]:
    verdict = {"event_id": "k1", "conversation_id": "c", "turn_event_id": turn_event_id, "verdict": "ignored"}
    return {**verdict, "direction": RULE, "corrected": KEPT, "author": "ana", **fields}


def conversation(answer: str = BROKEN) -> list[dict[str, Any]]:
    return [turn("t1", "system", RULE), turn("t2", "user", "What is rain?"), turn("t3", "assistant", answer)]


def send(ingest: Ingest, *turns: dict[str, Any]) -> None:
    for one in turns:
        ingest.turns("a", json.dumps(one).encode(), "mqtt")


def column(store: Store, sql: str) -> list[Any]:
    return [row[0] for row in store.rows(sql)]


def live_examples(store: Store) -> list[sqlite3.Row]:
    return store.rows("SELECT * FROM examples WHERE state != 'superseded'")


def test_turns_become_events_decisions_and_labels(store: Store, ingest: Ingest) -> None:
    send(ingest, *conversation())
    assert column(store, "SELECT event_id FROM events ORDER BY seq") == ["t1", "t2", "t3"]
    assert column(store, "SELECT id FROM decisions") == ["t3#0"]
    assert column(store, "SELECT text FROM directions") == [RULE]
    (label,) = store.rows("SELECT * FROM labels")
    assert (label["direction_id"], label["verdict"], label["labeller"]) == ("t1/0", "ignored", "constraint")


def test_a_whole_conversation_at_once_gives_the_same_rows(
    store: Store, ingest: Ingest, tmp_path: Path
) -> None:
    talk = [
        *conversation(),
        turn("t4", "user", "I told you: JSON with the key note!"),
        turn("t5", "assistant", KEPT),
    ]
    send(ingest, *talk)
    whole = open_store(tmp_path / "whole")
    Ingest(whole, Config(), detect_language).turns("a", {"conversation_id": "c", "turns": talk}, "mqtt")
    for sql in (
        "SELECT id || turn_event_id FROM decisions ORDER BY id",
        "SELECT id || text || scope FROM directions ORDER BY id",
        "SELECT decision_id || direction_id || verdict || confidence || labeller FROM labels ORDER BY 1",
        "SELECT decision_id || kind || state || ifnull(chosen, '') FROM examples"
        " WHERE state != 'superseded' ORDER BY 1",
    ):
        assert column(store, sql) == column(whole, sql) != []
    whole.close()


def test_the_same_turn_by_bus_and_by_log_is_one_event(store: Store, ingest: Ingest, tmp_path: Path) -> None:
    send(ingest, *conversation(), conversation()[2])
    log = tmp_path / "agent.jsonl"
    log.write_text(
        "".join(json.dumps(one) + "\n" for one in [*conversation(), turn("t4", "user", "Thanks.")])
    )
    piece = FollowedFile(log, Offset(log.stat().st_dev, log.stat().st_ino, str(log))).read(0.0)
    assert piece is not None
    ingest.piece("a", piece)
    ingest.piece("a", piece)
    assert column(store, "SELECT event_id FROM events ORDER BY seq") == ["t1", "t2", "t3", "t4"]
    assert column(store, "SELECT id FROM decisions") == ["t3#0"]
    assert counters.read(store)["turns_duplicate"] == 1 + 3 + 4
    assert offsets.known(store) == [piece.offset]


def test_another_turn_under_a_known_id_is_a_dead_letter_and_changes_nothing(
    store: Store, ingest: Ingest
) -> None:
    send(ingest, turn("t1", "user", "Hi"))
    send(ingest, turn("t1", "user", "Something else"), turn("t2", "user", "Good"))
    assert column(store, "SELECT content FROM events ORDER BY seq") == ["Hi", "Good"]
    assert summary(store)["dead_letters"] == {"another turn has this event_id already": 1}


def test_ignored_decision_becomes_an_example_by_the_corrected_text(store: Store, ingest: Ingest) -> None:
    send(ingest, *conversation())
    assert ingest.correction("a", correction(), "mqtt") == "applied"
    (example,) = live_examples(store)
    assert (example["kind"], example["origin"], example["state"]) == ("correction", "correction", "ready")
    assert (example["chosen"], example["rejected"]) == (KEPT, BROKEN)
    assert (example["decision_id"], example["direction"], example["author"]) == ("t3#0", RULE, "ana")
    assert example["quota"] == Config().training.uses_per_example
    assert [message["role"] for message in json.loads(example["context"])] == ["system", "user"]
    assert RULE not in example["twin_context"]
    (label,) = store.rows("SELECT * FROM labels")
    assert (label["verdict"], label["confidence"], label["labeller"]) == ("ignored", 1.0, "correction")


def test_correction_before_its_turn_waits_and_is_not_lost(store: Store, ingest: Ingest) -> None:
    assert ingest.correction("a", correction(), "mqtt") == "waiting"
    assert ingest.correction("a", correction(), "mqtt") == "duplicate"
    assert summary(store)["queues"]["corrections_waiting"] == 1
    assert list(summary(store)["dead_letters"]) == [
        "the turn it corrects has not come; it is applied when it comes"
    ]
    send(ingest, *conversation())
    assert summary(store)["dead_letters"] == {}
    assert column(store, "SELECT state FROM corrections") == ["applied"]
    assert [example["chosen"] for example in live_examples(store)] == [KEPT]


def test_letters_are_searched_only_for_a_correction_that_had_waited(store: Store, ingest: Ingest) -> None:
    said: list[str] = []
    store.connection.set_trace_callback(said.append)
    send(ingest, *conversation())
    assert ingest.correction("a", correction(), "mqtt") == "applied"
    assert not any("dead_letters" in statement for statement in said)


@pytest.mark.parametrize("first", ["turn", "correction"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"turn_event_id": "t2"}, "that turn is a user turn"),
        ({"conversation_id": "other"}, "another conversation"),
    ],
)
def test_correction_that_cannot_apply_is_a_dead_letter(
    store: Store, ingest: Ingest, first: str, changes: dict[str, str], reason: str
) -> None:
    steps = {
        "turn": lambda: send(ingest, *conversation()),
        "correction": lambda: ingest.correction("a", correction(**changes), "mqtt"),
    }
    for name in sorted(steps, key=lambda step: step != first):
        steps[name]()
    (letter,) = dead_letters.recent(store)
    assert reason in letter["reason"]
    assert json.loads(letter["payload"])["event_id"] == "k1"
    assert column(store, "SELECT state FROM corrections") == ["rejected"]
    assert column(store, "SELECT labeller FROM labels") == ["constraint"]


def test_followed_correction_labels_and_takes_a_wrong_example_back(store: Store, ingest: Ingest) -> None:
    send(ingest, *conversation())
    assert [example["kind"] for example in live_examples(store)] == ["correction"]
    ingest.correction("a", correction(verdict="followed", corrected=None), "mqtt")
    assert column(store, "SELECT verdict FROM labels") == ["followed"]
    assert "correction" not in [example["kind"] for example in live_examples(store)]


def test_correction_may_state_its_own_direction(store: Store, ingest: Ingest) -> None:
    send(ingest, turn("t2", "user", "What is rain?"), turn("t3", "assistant", BROKEN))
    ingest.correction("a", correction(direction="Sign every letter with your name."), "mqtt")
    (label,) = store.rows("SELECT * FROM labels WHERE verdict = 'ignored'")
    assert label["direction_id"] == "k1/0"
    assert column(store, "SELECT text FROM directions WHERE id = 'k1/0'") == [
        "Sign every letter with your name."
    ]
    assert column(store, "SELECT direction_id FROM decision_directions WHERE decision_id = 't3#0'") == [
        "k1/0"
    ]


def test_ordinary_answer_is_general_replay_until_it_is_corrected(store: Store, ingest: Ingest) -> None:
    send(ingest, turn("t2", "user", "What is rain?"), turn("t3", "assistant", BROKEN))
    (ordinary,) = live_examples(store)
    assert (ordinary["kind"], ordinary["origin"], ordinary["chosen"]) == ("general", "ordinary", BROKEN)
    ingest.correction("a", correction(), "mqtt")
    assert [example["kind"] for example in live_examples(store)] == ["correction"]


def test_tool_calls_are_decisions_but_no_replay(store: Store, ingest: Ingest) -> None:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(3)
    ]
    send(
        ingest,
        turn("t2", "user", "Look."),
        turn("t3", "assistant", None, tool_calls=calls),
        turn("t4", "tool", "x", tool_call_id="c0"),
    )
    assert column(store, "SELECT id FROM decisions ORDER BY id") == ["t3#0", "t3#1", "t3#2"]
    assert live_examples(store) == []


def test_next_turn_of_the_user_labels_the_answer_before_it(store: Store, ingest: Ingest) -> None:
    send(
        ingest,
        turn("t1", "user", "From now on tell me which sources you used."),
        turn("t2", "assistant", BROKEN),
        turn("t3", "user", "And snow?"),
        turn("t4", "assistant", "Snow is ice."),
    )
    assert column(store, "SELECT verdict FROM labels") == ["unknown", "unknown"]
    send(ingest, turn("t5", "user", "I told you: tell me which sources you used!"))
    labels = dict(store.rows("SELECT decision_id, verdict FROM labels"))
    assert labels == {"t2#0": "unknown", "t4#0": "ignored"}


def test_labels_are_told_once_each(store: Store, ingest: Ingest) -> None:
    send(ingest, *conversation(), *conversation())
    ingest.correction("a", correction(), "mqtt")
    ingest.correction("a", correction(), "mqtt")
    told = [json.loads(payload) for payload in column(store, "SELECT payload FROM outbox ORDER BY id")]
    assert [(event["decision_id"], event["verdict"], event["labeller"]) for event in told] == [
        ("t3#0", "ignored", "constraint"),
        ("t3#0", "ignored", "correction"),
    ]


def test_command_waits_for_the_learner_which_is_woken(store: Store, ingest: Ingest, home: Path) -> None:
    listener = Listener(home, "learner")
    pause = {"event_id": "o1", "command": "pause"}
    assert ingest.command("a", json.dumps(pause).encode(), "mqtt") == "waiting"
    assert ingest.command("a", pause, "mqtt") == "duplicate"
    assert [command.command for command in commands.waiting(store)] == ["pause"]
    assert listener.drain()
    listener.close()


GOOD = json.dumps(turn("good", "user", "hello")).encode()
BAD_TURNS = {
    "no JSON": (b"{nonsense", "not JSON"),
    "no UTF-8": (b"\xff\xfe{}", "not UTF-8"),
    "no object": (b"[1, 2]", "a JSON object is needed"),
    "empty": (b"", "not JSON"),
    "nested without end": (b"[" * 200_000, "nested too deeply"),
    "unknown role": (json.dumps(turn("e", "robot")).encode(), "role"),
    "wrong type": (json.dumps(turn("e", "user", 7)).encode(), "content"),  # type: ignore[arg-type]
    "no id": (b'{"conversation_id": "c", "role": "user", "content": "x"}', "event_id"),
    "long id": (json.dumps(turn("e" * 201, "user")).encode(), "event_id"),
    "5 MB of text": (json.dumps(turn("e", "user", "x" * 5_000_000)).encode(), "content"),
    "from the future": (json.dumps(turn("e", "user", ts="2999-01-01T00:00:00Z")).encode(), "future"),
    "id from the future": (json.dumps(turn("7ZZZZZZZZZ0000000000000000", "user")).encode(), "future"),
    "time without zone": (json.dumps(turn("e", "user", ts="2026-01-01T00:00:00")).encode(), "offset"),
    "half a surrogate pair": (
        b'{"event_id":"e","conversation_id":"c","role":"user","content":"\\ud800"}',
        "surrogate",
    ),
    "tool calls of no kind": (
        json.dumps(turn("e", "assistant", tool_calls=[{"id": 1}])).encode(),
        "tool_calls",
    ),
}


@pytest.mark.parametrize("name", BAD_TURNS)
def test_bad_turn_is_kept_with_its_reason_and_the_rest_goes_through(
    store: Store, ingest: Ingest, name: str
) -> None:
    payload, reason = BAD_TURNS[name]
    ingest.turns("a", payload, "mqtt")
    ingest.turns("a", GOOD, "mqtt")
    (letter,) = dead_letters.recent(store)
    assert reason in letter["reason"]
    assert len(letter["reason"]) < 300
    assert letter["bytes"] == len(payload)
    assert len(letter["payload"]) <= dead_letters.MAX_KEPT
    assert column(store, "SELECT event_id FROM events") == ["good"]
    assert counters.read(store)["dead_letters"] == 1


def test_good_turns_beside_bad_ones_in_one_message_go_through(store: Store, ingest: Ingest) -> None:
    talk = {
        "conversation_id": "c",
        "turns": [turn("t1", "user", "x"), {"role": "user"}, turn("t2", "assistant", "y")],
    }
    ingest.turns("a", json.dumps(talk).encode(), "mqtt")
    assert column(store, "SELECT event_id FROM events") == ["t1", "t2"]
    assert "turns[1]" in dead_letters.recent(store)[0]["source"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": "bad"}, "verdict"),
        ({"turn_event_id": None}, "turn_event_id"),
        ({"direction": "x" * 10_001}, "direction"),
        ({"event_id": ""}, "event_id"),
    ],
)
def test_bad_correction_is_a_dead_letter(
    store: Store, ingest: Ingest, changes: dict[str, Any], reason: str
) -> None:
    assert ingest.correction("a", json.dumps(correction(**changes)).encode(), "mqtt") == "rejected"
    assert reason in dead_letters.recent(store)[0]["reason"]
    assert column(store, "SELECT count(*) FROM corrections") == [0]


@pytest.mark.parametrize(
    "payload", [b"pause", b'{"event_id": "o", "command": "explode"}', b'{"command": "pause"}']
)
def test_bad_command_is_a_dead_letter(store: Store, ingest: Ingest, payload: bytes) -> None:
    assert ingest.command("a", payload, "mqtt") == "rejected"
    assert commands.waiting(store) == []
    assert len(dead_letters.recent(store)) == 1


def messages(*payloads: bytes, channel: str = "turns") -> list[Inbound]:
    return [Inbound(f"a{number % 2}", channel, payload) for number, payload in enumerate(payloads)]


def test_batch_of_messages_gives_the_rows_of_one_after_the_other(
    store: Store, ingest: Ingest, tmp_path: Path
) -> None:
    talk = [
        *conversation(),
        turn("t4", "user", "I told you: JSON with the key note!"),
        turn("t5", "assistant", KEPT),
        turn("t6", "user", "And hail?"),
        turn("t7", "assistant", "Ice."),
    ]
    other = [{**one, "event_id": f"o{one['event_id']}", "conversation_id": "o"} for one in talk]
    mixed = [json.dumps(one).encode() for pair in zip(talk, other, strict=True) for one in pair]
    told = json.dumps(correction("t7", event_id="k2")).encode()
    batch = [
        *messages(mixed[0], b"nonsense", *mixed[1:7]),
        *messages(told, channel="corrections"),
        *messages(*mixed[7:], mixed[0]),
    ]
    for message in batch:
        ingest.messages([message], "mqtt")
    whole = open_store(tmp_path / "whole")
    Ingest(whole, Config(), detect_language).messages(batch, "mqtt")
    for sql in (
        "SELECT event_id || agent FROM events ORDER BY seq",
        "SELECT id || turn_event_id FROM decisions ORDER BY id",
        "SELECT decision_id || direction_id || verdict || confidence || labeller FROM labels ORDER BY 1",
        "SELECT decision_id || kind || state || ifnull(chosen, '') FROM examples"
        " WHERE state != 'superseded' ORDER BY 1",
        "SELECT event_id || state FROM corrections",
        "SELECT name || value FROM counters ORDER BY 1",
        "SELECT reason FROM dead_letters",
    ):
        assert column(store, sql) == column(whole, sql) != []
    whole.close()


def test_message_that_labelling_cannot_cope_with_costs_itself_alone(
    store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(case: Any, labellers: Any, **options: Any) -> Any:
        if case.decision.turn.event_id == "t3":
            raise LookupError("a case that nobody thought of")
        return judge(case, labellers, **options)

    monkeypatch.setattr("agent.judging.judge", fragile)
    answer = turn("t4", "assistant", KEPT)
    ingest.messages(messages(*(json.dumps(one).encode() for one in [*conversation(), answer])), "mqtt")
    assert column(store, "SELECT event_id FROM events ORDER BY seq") == ["t1", "t2", "t4"]
    (letter,) = dead_letters.recent(store)
    assert ("LookupError" in letter["reason"], json.loads(letter["payload"])["event_id"]) == (True, "t3")


def test_only_those_who_have_something_to_do_are_woken(store: Store, ingest: Ingest, home: Path) -> None:
    learner, loop = Listener(home, "learner"), Listener(home, "loop")
    send(ingest, turn("t1", "user", "Hi"), turn("t2", "assistant", "Hello."))
    assert (learner.drain(), loop.drain()) == (False, False)
    ingest.correction("a", correction("t2"), "mqtt")
    assert (learner.drain(), loop.drain()) == (True, True)
    learner.close()
    loop.close()


def test_nothing_is_half_written(store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("store.labels.replace", die)
    with pytest.raises(KeyboardInterrupt):
        send(ingest, *conversation())
    assert column(store, "SELECT event_id FROM events ORDER BY seq") == ["t1", "t2"]
    monkeypatch.undo()
    send(ingest, *conversation())
    assert column(store, "SELECT id FROM decisions") == ["t3#0"]


def test_example_of_a_long_conversation_keeps_its_direction(store: Store, ingest: Ingest) -> None:
    long = [turn(f"u{n}", "user" if n % 2 else "tool", "x" * 900) for n in range(40)]
    send(ingest, conversation()[0], *long, *conversation()[1:])
    ingest.correction("a", correction(), "mqtt")
    (example,) = [one for one in live_examples(store) if one["kind"] == "correction"]
    context = json.loads(example["context"])
    assert (context[0]["content"], context[-1]["content"]) == (RULE, "What is rain?")
    assert len(example["context"]) < 2 * 8 * Config().training.max_context_tokens


def test_turn_far_back_can_be_corrected(store: Store, ingest: Ingest) -> None:
    later = [turn(f"u{n}", "assistant" if n % 2 else "user", f"word {n}") for n in range(20)]
    send(ingest, *conversation(), *later)
    assert ingest.correction("a", correction(), "mqtt") == "applied"
    (example,) = [one for one in live_examples(store) if one["decision_id"] == "t3#0"]
    assert (example["chosen"], example["direction"]) == (KEPT, RULE)


def test_two_processes_may_write_to_one_conversation(store: Store, ingest: Ingest, home: Path) -> None:
    other = open_store(home)
    second = Ingest(other, Config(), detect_language)
    rule, question, answer = conversation()
    send(ingest, rule)
    send(second, question)
    send(ingest, answer)
    send(second, turn("t4", "user", "And snow?"))
    send(ingest, turn("t5", "assistant", "Snow is ice."))
    other.close()
    assert dict(store.rows("SELECT decision_id, verdict FROM labels")) == {
        "t3#0": "ignored",
        "t5#0": "ignored",
    }
    context = store.rows("SELECT context FROM examples WHERE decision_id = 't5#0'")[0]["context"]
    assert [message["content"] for message in json.loads(context)] == [
        RULE,
        "What is rain?",
        BROKEN,
        "And snow?",
    ]


def test_turn_costs_the_same_however_long_the_conversation(
    store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = 0

    def counted(*arguments: Any) -> Any:
        nonlocal followed
        followed += 1
        return advance(*arguments)

    for module in ("policies.segmentation", "agent.conversations"):
        monkeypatch.setattr(f"{module}.advance", counted)
    costs = []
    for number in range(60):
        before = followed
        send(ingest, turn(f"u{number}", "assistant" if number % 2 else "user", f"word {number}"))
        costs.append(followed - before)
    assert max(costs) <= 5
