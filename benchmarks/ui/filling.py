"""A store of any size, as months of use would leave it: conversations, labels, corrections, steps, probes."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from store.database import open_store

DAY_MS = 86_400_000
_START_MS = 1_780_000_000_000
_DAYS = 90
_WORDS = (
    "the", "a", "of", "to", "in", "run", "test", "branch", "file", "error", "value", "change", "commit",
    "merge", "function", "returns", "list", "server", "model", "before", "after", "because", "should",
    "answer", "result", "check", "build", "deploy", "config", "reader", "writer", "queue", "table", "index",
    "note",
)  # fmt: skip
_VERDICTS = ("followed", "ignored", "unknown")
_LABELLERS = ("constraint", "next_turn", "judge", "correction")
_PROBES = ("nll", "facts", "kl", "leak", "follow")
_TURNS = 20
"""Turns of one conversation, half of them the agent's."""
_EVERY = 100
"""One of so many decisions is corrected."""
_USES = 4
_STEPS_IN_VERSION = 10
_PAUSE_S = 1.0
"""Between two conversations of somebody who goes on writing."""


def fill(home: Path, decisions: int, seed: int) -> None:
    """Write a store with so many decisions. `seed` draws words and verdicts."""
    draw = random.Random(seed)
    sentences = [_text(draw, 5, 9).capitalize() + "." for _ in range(60)]
    store = open_store(home)
    with store.write() as connection:
        corrected = _fill_conversations(connection, decisions, sentences, draw)
        examples = _fill_examples(connection, corrected, sentences, draw)
        _fill_versions(connection, examples, draw)
        connection.execute("INSERT INTO counters VALUES ('corrections', ?)", (len(corrected),))
    store.close()


def go_on(home: Path) -> None:
    """Write one conversation after the other until this process is ended."""
    draw, store = random.Random(time.time_ns()), open_store(home)
    first = time.time_ns() // 1_000_000
    while True:
        now = time.time_ns() // 1_000_000
        with store.write() as connection:
            _add_conversation(
                connection, f"w{first}-{now}", ["Answer in one line.", "Run the tests."], now, draw
            )
        time.sleep(_PAUSE_S)


def _text(draw: random.Random, least: int, most: int) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(least, most)))


def _time(number: int, of: int) -> int:
    return _START_MS + _DAYS * DAY_MS * number // of


def _fill_conversations(
    connection: sqlite3.Connection, decisions: int, sentences: Sequence[str], draw: random.Random
) -> list[tuple[str, str, int]]:
    """Write turns, directions, decisions, labels and votes. Returns (decision, direction's text, time) of
    those that are corrected.
    """
    corrected = []
    for number in range(0, decisions, _TURNS // 2):
        at, name = _time(number, decisions), f"c{number // (_TURNS // 2)}"
        said = draw.sample(sentences, 2)
        _add_conversation(connection, name, said, at, draw)
        if number % _EVERY == 0:
            corrected.append((f"{name}t1#0", said[0], at))
    return corrected


def _add_conversation(
    connection: sqlite3.Connection, name: str, said: Sequence[str], at: int, draw: random.Random
) -> None:
    _add_directions(connection, name, said, at)
    for place in range(0, _TURNS, 2):
        turn = f"{name}t{place + 1}"
        _add_turn(connection, f"{name}t{place}", name, "user", _text(draw, 8, 40), at + place)
        _add_turn(connection, turn, name, "assistant", _text(draw, 40, 160), at + place + 1)
        connection.execute("INSERT INTO decisions VALUES (?, ?, ?, 0, ?)", (f"{turn}#0", name, turn, at))
        for which in range(len(said)):
            _judge(connection, f"{turn}#0", f"{name}s/{which}", draw, at)


def _add_directions(connection: sqlite3.Connection, name: str, texts: Sequence[str], at: int) -> None:
    _add_turn(connection, f"{name}s", name, "system", " ".join(texts), at)
    connection.executemany(
        "INSERT INTO directions VALUES (?, ?, ?, ?, 'standing')",
        [(f"{name}s/{i}", name, f"{name}s", text) for i, text in enumerate(texts)],
    )


def _add_turn(
    connection: sqlite3.Connection, event: str, name: str, role: str, content: str, at: int
) -> None:
    connection.execute(
        "INSERT INTO events (event_id, agent, conversation_id, role, content, ts, source, received)"
        " VALUES (?, 'coder', ?, ?, ?, ?, 'mqtt', ?)",
        (event, name, role, content, at, at),
    )


def _judge(
    connection: sqlite3.Connection, decision: str, direction: str, draw: random.Random, at: int
) -> None:
    connection.execute("INSERT INTO decision_directions VALUES (?, ?)", (decision, direction))
    (verdict,) = draw.choices(_VERDICTS, (5, 2, 3))
    row = (
        decision,
        direction,
        verdict,
        round(draw.uniform(0.5, 1), 3),
        draw.choice(_LABELLERS),
        "as it stands",
        at,
    )
    columns = "(decision_id, direction_id, verdict, confidence, labeller, evidence, created)"
    for table in ("labels", "votes"):
        connection.execute(f"INSERT INTO {table} {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _fill_examples(
    connection: sqlite3.Connection,
    corrected: Sequence[tuple[str, str, int]],
    sentences: Sequence[str],
    draw: random.Random,
) -> list[tuple[str, int]]:
    """Write corrections, their examples with two rehearsals each, and a general pool. Returns (id, time)."""
    found = []
    for number, (decision, direction, at) in enumerate(corrected):
        turn, author = decision.removesuffix("#0"), f"author{number % 7}"
        connection.execute(
            "INSERT INTO corrections VALUES (?, 'coder', ?, ?, 'ignored', ?, ?, ?, 'applied', ?, 'mqtt')",
            (f"k{number}", turn.partition("t")[0], turn, direction, _text(draw, 20, 60), author, at),
        )
        for which in range(3):
            name, parent = f"x{number}-{which}", f"x{number}-0" if which else None
            connection.execute(
                "INSERT INTO examples VALUES"
                " (?, 'correction', ?, ?, '[]', ?, ?, NULL, 1, 'correction', ?, 'ready', 4, ?, ?)",
                (
                    name,
                    None if which else decision,
                    direction,
                    _text(draw, 20, 60),
                    _text(draw, 20, 60),
                    author,
                    at,
                    parent,
                ),
            )
            found.append((name, at))
    connection.executemany(
        "INSERT INTO examples VALUES"
        " (?, 'general', NULL, NULL, '[]', ?, NULL, NULL, 1, 'base', NULL, 'ready', 0, ?, NULL)",
        [(f"general{i}", _text(draw, 20, 60), _START_MS) for i in range(50)],
    )
    return found


def _fill_versions(
    connection: sqlite3.Connection, examples: Sequence[tuple[str, int]], draw: random.Random
) -> None:
    """Write steps of two corrections and a general row each, a version and a probe run every few steps."""
    _add_version(connection, "v0", None, "base", None, None, _START_MS, "")
    batches = list(_batches(examples))
    version = 0
    for step, (batch, at) in enumerate(batches, 1):
        connection.execute(
            "INSERT INTO steps VALUES (?, ?, 'confirmed', 2e-4, 0.25, ?, 0.9, 1000, '{}', ?, ?)",
            (step, f"v{version}", 3 / (1 + step % 50), at, at + 900),
        )
        connection.executemany(
            "INSERT INTO step_rows VALUES (?, ?, ?, ?, ?)",
            [(step, slot, "general" if name.startswith("general") else "correction", name, draw.random())
             for slot, name in enumerate(batch)],
        )  # fmt: skip
        if step % _STEPS_IN_VERSION == 0:
            version += 1
            first = step - _STEPS_IN_VERSION + 1
            _add_version(connection, f"v{version}", f"v{version - 1}", "train", first, step, at + 1000, "")
            _add_probes(connection, version, step, at + 1000, batch, draw)


def _batches(examples: Sequence[tuple[str, int]]) -> Iterator[tuple[list[str], int]]:
    uses = [one for one in examples for _ in range(_USES // 2)]
    for number in range(0, len(uses) - 1, 2):
        yield [uses[number][0], uses[number + 1][0], f"general{number % 50}"], uses[number][1]


def _add_version(
    connection: sqlite3.Connection,
    name: str,
    parent: str | None,
    kind: str,
    first: int | None,
    last: int | None,
    at: int,
    note: str,
) -> None:
    connection.execute(
        "INSERT INTO versions (id, parent, kind, first_step, last_step, bytes, full_bytes, moments,"
        " fingerprint, state, note, created)"
        " VALUES (?, ?, ?, ?, ?, 1000000, 9000000, 'kept', ?, 'good', ?, ?)",
        (name, parent, kind, first, last, name, note, at),
    )


def _add_probes(
    connection: sqlite3.Connection,
    version: int,
    step: int,
    at: int,
    batch: Sequence[str],
    draw: random.Random,
) -> None:
    verdict, back = "accept", version % 40 == 0
    if back:
        verdict = "breach"
        _add_version(
            connection,
            f"r{version}",
            f"v{version - 1}",
            "rollback",
            None,
            step - _STEPS_IN_VERSION,
            at,
            "nll rose",
        )
        connection.execute(
            "INSERT INTO quarantine (example_id, reason, created) VALUES (?, 'nll rose', ?)", (batch[0], at)
        )
    name = f"r{version}" if back else f"v{version}"
    connection.execute(
        "INSERT INTO probes VALUES (?, ?, ?, ?, '', 2.5, ?)", (version, step, name, verdict, at)
    )
    known = max(1, version - 30)
    followed = {f"x{i % (version * 3)}-0": draw.random() for i in range(known, known + 40)}
    items = {probe: json.dumps(followed if probe == "follow" else {"1": draw.random()}) for probe in _PROBES}
    connection.executemany(
        "INSERT INTO probe_values VALUES (?, ?, ?, ?)",
        [(version, probe, draw.random(), items[probe]) for probe in _PROBES],
    )


if __name__ == "__main__":
    go_on(Path(sys.argv[1]))
