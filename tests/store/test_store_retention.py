"""What goes when it is old, what stays for the history, and that a turn still counts once."""

from __future__ import annotations

import json

import pytest
from rows import add_decision, correction, general

from policies.answers import answer_digest
from policies.messages import CommandPayload
from policies.turn import Turn
from store import commands, events, examples, history, opinions, retention, steps, versions
from store.checkpoint import checkpoint
from store.consistency import examine_rows
from store.database import Store, open_read_only
from store.retention import Cutoffs
from store.write_ahead_log import log_bytes

OLD, NEW = 1_000, 10_000_000
ALL = Cutoffs(*[NEW] * len(Cutoffs._fields))


def swept(store: Store, cutoffs: Cutoffs = ALL, batch: int = 100) -> dict[str, int]:
    """Sweep to the end; returns the sums."""
    total: dict[str, int] = {}
    while removed := retention.sweep(store, cutoffs, batch):
        for name, number in removed.items():
            total[name] = total.get(name, 0) + number
    return total


def one(store: Store, sql: str) -> object:
    return store.rows(sql)[0][0]


def answer(store: Store, digest: str, ended: int, response: str | None = None) -> None:
    with store.write() as connection:
        connection.execute(
            "INSERT INTO answers (response_id, choice, path, outcome, digest, started, ended)"
            " VALUES (?, 0, '/v1/chat/completions', 'finished', ?, ?, ?)",
            (response, digest, ended, ended),
        )


def corrected(store: Store, turn: str) -> None:
    with store.write() as connection:
        connection.execute(
            "INSERT INTO corrections (event_id, agent, conversation_id, turn_event_id, verdict, state,"
            " received, source) VALUES ('k', 'a', 'c1', ?, 'ignored', 'applied', 1, 'mqtt')",
            (turn,),
        )


def test_what_goes_gives_its_room_back(store: Store) -> None:
    with store.write() as connection:
        connection.executemany(
            "INSERT INTO dead_letters (source, reason, payload, bytes, received, digest)"
            " VALUES ('s', 'r', ?, 0, 1, ?)",
            [("x" * 20_000, str(number)) for number in range(100)],
        )
    checkpoint(store)
    full = store.path.stat().st_size
    assert full > 2_000_000
    assert swept(store) == {"dead_letters": 100}
    given = []
    while number := retention.give_back(store, 200):
        given.append(number)
    checkpoint(store)
    assert full - store.path.stat().st_size >= 4096 * sum(given) > 2_000_000
    assert max(given) == 200, "never more in one transaction"
    assert one(store, "PRAGMA quick_check") == "ok"


def test_conversations_that_taught_nothing_keep_their_ids_alone(store: Store) -> None:
    decision = add_decision(store, "t1", "plain")
    with store.write() as connection:
        for table in ("labels", "votes"):
            connection.execute(
                f"INSERT INTO {table} (decision_id, direction_id, verdict, confidence, labeller, evidence,"
                " created) VALUES (?, 't1/0', 'followed', 1, 'x', '', 1)",
                (decision,),
            )
        opinions.put(connection, "judge", [decision])
        ordinary = general("g").model_copy(update={"decision_id": decision, "origin": "ordinary"})
        examples.add_general_example(connection, ordinary)
    assert swept(store) == {"conversations": 1}
    assert store.rows("SELECT event_id, content, retained FROM events")[0][:] == ("t1", "", 2)
    for table in ("decisions", "directions", "labels", "votes", "examples", "opinions_waiting"):
        assert one(store, f"SELECT count(*) FROM {table}") == 0
    assert list(examine_rows(store, learning=False)) == [], "an emptied turn is no gap"
    assert swept(store) == {}, "and is done"


def test_a_turn_that_is_sent_again_after_years_still_counts_once(store: Store) -> None:
    add_decision(store, "t1", "plain")
    swept(store)
    again = Turn(event_id="t1", conversation_id="plain", role="assistant", content="Hello.", ts=1)
    with store.write() as connection:
        assert events.insert(connection, "a", [again], "mqtt") == []
        assert events.conflicting(connection, [again]) == []
    assert one(store, "SELECT count(*) FROM events") == 1


@pytest.mark.parametrize("why", ["corrected", "trained on", "replayed", "goes on"])
def test_what_the_history_needs_stays_whole(store: Store, why: str) -> None:
    decision = add_decision(store, "t1", "c1")
    with store.write() as connection:
        base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
        versions.add(connection, base)
        if why == "trained on":
            examples.upsert_correction_example(connection, correction("e1", decision), 1)
        if why == "replayed":
            ordinary = general("g1").model_copy(update={"decision_id": decision})
            examples.add_general_example(connection, ordinary)
            steps.begin(connection, base.id, 1e-4, [("general", "g1")])
    if why == "corrected":
        corrected(store, "t1")
    if why == "goes on":
        add_decision(store, "t2", "c1")
        store.connection.execute("UPDATE events SET received = ? WHERE event_id = 't2'", (NEW,))
    assert swept(store) == {"conversations": 1}
    assert history.show(store, decision)["turn"]["content"] == "Hello."
    assert one(store, "SELECT retained FROM events WHERE event_id = 't1'") == 1
    assert swept(store) == {}, "it is not looked at again and again"


def test_answers_go_but_those_of_corrected_turns(store: Store) -> None:
    add_decision(store, "by-id", "c1")
    corrected(store, "by-id")
    answer(store, "other", OLD)
    answer(store, "of another", OLD, "by-id")
    answer(store, answer_digest("Hello.", []), OLD)
    answer(store, "new", NEW)
    assert swept(store, ALL._replace(conversations=None)) == {"answers": 3}
    kept = [row[0] for row in store.rows("SELECT digest FROM answers ORDER BY seq")]
    assert kept == ["of another", answer_digest("Hello.", []), "new"]
    assert swept(store, ALL._replace(conversations=None)) == {}


def test_answers_that_come_after_all_others_were_swept_go_too(store: Store) -> None:
    for round_ in range(3):
        for number in range(3):
            answer(store, f"{round_}.{number}", OLD)
        swept(store, ALL._replace(conversations=None))
    assert one(store, "SELECT group_concat(digest) FROM answers") == "2.2"


def test_letters_and_old_labels_go_in_small_transactions(store: Store) -> None:
    add_decision(store, "t1", "c1")
    with store.write() as connection:
        examples.upsert_correction_example(connection, correction("e1", "t1#0"), 1)
    add_decision(store, "t2", "c2")
    with store.write() as connection:
        for number in range(7):
            connection.execute(
                "INSERT INTO dead_letters (source, reason, payload, bytes, received, digest)"
                " VALUES ('s', 'r', '', 0, ?, ?)",
                (OLD + number, str(number)),
            )
        for decision in ("t1#0", "t2#0"):
            connection.execute(
                "INSERT INTO label_history (kind, decision_id, verdict, confidence, labeller, evidence,"
                " created, replaced) VALUES ('labels', ?, 'ignored', 1, 'x', '', 1, 1)",
                (decision,),
            )
    only = ALL._replace(conversations=None)
    assert retention.sweep(store, only, 3) == {"dead_letters": 3, "label_history": 1}
    assert swept(store, only, 3) == {"dead_letters": 4}
    assert [row[0] for row in store.rows("SELECT decision_id FROM label_history")] == ["t1#0"]


def test_published_events_go_and_what_was_not_sent_waits(store: Store) -> None:
    with store.write() as connection:
        for number, sent in enumerate((OLD, None, NEW)):
            connection.execute(
                "INSERT INTO outbox (payload, created, sent) VALUES (?, ?, ?)", (str(number), OLD, sent)
            )
    assert swept(store) == {"outbox": 1}
    assert [row[0] for row in store.rows("SELECT payload FROM outbox ORDER BY id")] == ["1", "2"]


def test_an_old_command_is_emptied_once_and_still_counts_once(store: Store) -> None:
    asked = CommandPayload(event_id="c", command="steer", args={"prompts": ["my secret plan"]})
    waits = CommandPayload(event_id="w", command="pause", args={"why": "still waiting"})
    with store.write() as connection:
        commands.insert(connection, "a", asked)
        commands.insert(connection, "a", waits)
        commands.finish(connection, "c", "done", {"answers": ["as secret"]})
        connection.execute("UPDATE commands SET finished = ? WHERE event_id = 'c'", (OLD,))
    kept = Cutoffs(**(dict.fromkeys(Cutoffs._fields) | {"commands": NEW}))
    assert swept(store, kept) == {"commands": 1}
    assert "secret" not in str([tuple(row) for row in store.rows("SELECT args, result FROM commands")])
    assert commands.outcome(store, "c") == ("done", {"expired": True})
    assert commands.waiting(store) == [waits]
    with store.write() as connection:
        assert not commands.insert(connection, "a", asked)


def test_nothing_goes_that_is_kept_for_ever(store: Store) -> None:
    add_decision(store, "t1", "c1")
    answer(store, "a", OLD)
    assert swept(store, Cutoffs(**dict.fromkeys(Cutoffs._fields))) == {}


def test_a_checkpoint_cuts_the_log_unless_a_reader_is_in_the_way(store: Store) -> None:
    with store.write() as connection:
        connection.execute("INSERT INTO counters VALUES (?, 1)", (json.dumps("x" * 100_000),))
    assert checkpoint(store, above=10**9) == log_bytes(store.path) > 0
    reader = open_read_only(store.path.parent)
    reader.connection.execute("BEGIN")
    reader.rows("SELECT * FROM counters")
    with store.write() as connection:
        connection.execute("DELETE FROM counters")
    assert checkpoint(store) > 0
    reader.connection.execute("COMMIT")
    reader.close()
    assert checkpoint(store) == 0
    assert store.rows("PRAGMA busy_timeout")[0][0] == 15_000
