"""The digest follows the store: worst verdicts, counts by direction, words, and what is forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from ui_history import ingest

from agent.ui.digest import DIGEST, Digest
from policies.label import Label, Verdict
from store import labels
from store.database import Store
from store.retention import Cutoffs, sweep

SURE = 0.9
FOREVER = 1 << 60
SENTENCE = "From now on answer in lowercase only."


@pytest.fixture
def digest(home: Path, store: Store) -> Iterator[Digest]:
    opened = Digest(home, SURE)
    yield opened
    opened.close()


def read(digest: Digest, sql: str) -> list[tuple[object, ...]]:
    """Bring the digest up to date, and ask it."""
    while digest.refresh():
        pass
    with sqlite3.connect(digest.path) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def talk(store: Store, name: str, *answers: str) -> None:
    messages = [("user", SENTENCE)]
    for answer in answers:
        messages += [("assistant", answer), ("user", "And?")]
    ingest(store, name, *messages)


def relabel(store: Store, decision: str, verdict: Verdict, confidence: float) -> None:
    direction = f"{decision.partition('-')[0]}-0/0"
    label = Label(
        decision_id=decision, direction_id=direction, verdict=verdict, confidence=confidence, labeller="judge"
    )
    with store.write() as connection:
        labels.replace(connection, decision, [label])


def test_decisions_come_in_order_with_their_worst_verdict(digest: Digest, store: Store) -> None:
    talk(store, "a", "Loud.", "quiet.")
    assert read(digest, "SELECT id, verdict FROM points ORDER BY number") == [
        ("a-1#0", "ignored"),
        ("a-3#0", "followed"),
    ]


def test_directions_of_the_same_words_are_one(digest: Digest, store: Store) -> None:
    talk(store, "a", "Loud.", "quiet.")
    talk(store, "b", "quiet.")
    assert read(digest, "SELECT id, text, followed, ignored FROM sentences") == [("a-0/0", SENTENCE, 2, 1)]


def test_a_label_that_changes_is_counted_once(digest: Digest, store: Store) -> None:
    talk(store, "a", "Loud.", "quiet.")
    counts = "SELECT followed, ignored, unknown FROM sentences"
    assert read(digest, counts) == [(1, 1, 0)]
    relabel(store, "a-1#0", "followed", 1.0)
    assert read(digest, counts) == [(2, 0, 0)]
    relabel(store, "a-3#0", "unknown", 0.4)
    assert read(digest, counts) == [(1, 0, 1)]
    assert read(digest, "SELECT count(*) FROM judgements") == [(2,)]


def test_a_label_that_gets_the_number_of_a_removed_one_is_seen(digest: Digest, store: Store) -> None:
    talk(store, "a", "Loud.", "quiet.")
    read(digest, "SELECT 1")
    with store.write() as connection:
        labels.replace(connection, "a-3#0", [])
        more = Label(
            decision_id="a-1#0", direction_id=None, verdict="unknown", confidence=0.2, labeller="judge"
        )
        labels.replace(connection, "a-1#0", [*labels.of(connection, "a-1#0"), more])
    assert read(
        digest, "SELECT p.id, j.label, j.verdict FROM judgements j JOIN points p ON p.number = j.point"
    ) == [
        ("a-1#0", 1, "ignored"),
        ("a-1#0", 2, "unknown"),
    ]


def test_words_of_answers_and_directions_are_found(digest: Digest, store: Store) -> None:
    talk(store, "a", "The zebra ran.", "a lake")
    found = (
        "SELECT p.id FROM point_words w JOIN points p ON p.number = w.rowid WHERE point_words MATCH 'zebra'"
    )
    assert read(digest, found) == [("a-1#0",)]
    relabel(store, "a-1#0", "followed", 1.0)
    assert read(digest, found) == [("a-1#0",)], "once, also after a change"
    assert read(digest, "SELECT rowid FROM sentence_words WHERE sentence_words MATCH 'lowercase'") == [(1,)]


def test_what_retention_removes_cannot_be_found_any_more(digest: Digest, store: Store) -> None:
    talk(store, "a", "quiet zebra")
    assert read(digest, "SELECT count(*) FROM points") == [(1,)]
    cutoffs = Cutoffs(**(dict.fromkeys(Cutoffs._fields) | {"conversations": FOREVER}))
    while sweep(store, cutoffs, 100):
        pass
    assert store.rows("SELECT 1 FROM decisions") == []
    for table in ("points", "judgements", "sentences", "point_words WHERE point_words MATCH 'zebra'"):
        assert read(digest, f"SELECT count(*) FROM {table}") == [(0,)], table
    talk(store, "b", "Loud.")
    assert read(digest, "SELECT id, verdict FROM points") == [("b-1#0", "ignored")]


def test_nothing_is_doubtful_of_which_something_is_sure(digest: Digest, store: Store) -> None:
    talk(store, "a", "Loud.", "quiet.")
    assert read(digest, "SELECT id FROM points WHERE doubt IS NOT NULL") == []
    with store.write() as connection:
        connection.execute("UPDATE votes SET confidence = 0.6 WHERE decision_id = 'a-3#0'")
    relabel(store, "a-3#0", "followed", 0.6)
    ((decision, doubt),) = read(digest, "SELECT id, doubt FROM points WHERE doubt IS NOT NULL")
    assert (decision, doubt) == ("a-3#0", pytest.approx(0.1))


def test_many_decisions_come_in_batches_each_once(digest: Digest, store: Store) -> None:
    for number in range(70):
        talk(store, f"c{number}", *["quiet"] * 8)
    assert read(digest, "SELECT count(*), count(DISTINCT id) FROM points") == [(560, 560)]
    assert read(digest, "SELECT followed, ignored FROM sentences") == [(560, 0)]
    assert not digest.refresh(), "nothing is read twice"


def test_a_digest_that_has_read_everything_keeps_few_pages_in_memory(digest: Digest, store: Store) -> None:
    talk(store, "a", "Loud.")
    pages = {"main": 65_536, "store": 2_000}  # KiB; SQLite's own is the second
    for schema, most in pages.items():
        assert digest._connection.execute(f"PRAGMA {schema}.cache_size").fetchone() == (-most,)
    read(digest, "SELECT 1")
    for schema in pages:
        assert digest._connection.execute(f"PRAGMA {schema}.cache_size").fetchone() == (-512,)


def test_a_damaged_digest_and_one_of_another_format_are_made_again(home: Path, store: Store) -> None:
    talk(store, "a", "quiet.")
    for harm in (b"no database at all, but long enough to be looked at" * 40, None):
        path = home / DIGEST
        if harm is None:
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA user_version = 99")
            connection.close()
        else:
            path.write_bytes(harm)
        digest = Digest(home, SURE)
        assert read(digest, "SELECT id FROM points") == [("a-1#0",)]
        assert path.stat().st_mode & 0o777 == 0o600
        digest.close()
