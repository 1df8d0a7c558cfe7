"""The digest of a store, for the ui: full-text index, worst verdicts, counts by direction. Kept up to date.

It is a file of its own, `ui.db`, so that ingest pays nothing for it and the ui never writes to the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from policies.errors import ConfigError
from store.database import FILE_NAME

DIGEST = "ui.db"
_FORMAT = 1
"""Of the schema: a digest of another one is made again."""
_BATCH = 500
"""Decisions in one transaction."""
_WORDS = 8000
"""Characters of an answer that can be searched."""
_CACHE_KIB, _SETTLED_KIB = 65_536, 512
"""Of pages: until all that is in the store has been read, and from then on. A large one fills for hours."""
_REMOVED = ("", "-wal", "-shm")

_CHANGED = {
    "decisions": "SELECT rowid AS mark, id FROM store.decisions WHERE rowid > ? ORDER BY rowid LIMIT ?",
    "label_history": "SELECT id AS mark, decision_id AS id FROM store.label_history WHERE id > ?"
    " ORDER BY id LIMIT ?",
    "labels": "SELECT id AS mark, decision_id AS id FROM store.labels WHERE id > ? ORDER BY id LIMIT ?",
}
"""Where a change of a decision leaves a row. New decisions come with their labels: they are read first."""

# CROSS JOIN, so that SQLite begins with the few that changed
_DIGEST_CHANGED = f"""
DELETE FROM judgements WHERE point IN (SELECT p.number FROM changed c CROSS JOIN points p ON p.id = c.id);
DELETE FROM point_words WHERE rowid IN (SELECT p.number FROM changed c CROSS JOIN points p ON p.id = c.id);
INSERT INTO points (id, turn, call_index, at, verdict, label, sentence, doubt)
    SELECT d.id, d.turn_event_id, d.call_index, e.ts, ifnull(l.verdict, 'unknown'), l.id, s.number,
        CASE WHEN EXISTS (SELECT 1 FROM store.labels x WHERE x.decision_id = d.id AND x.confidence >= :sure)
            OR EXISTS (SELECT 1 FROM store.corrections x WHERE x.turn_event_id = d.turn_event_id) THEN NULL
        ELSE abs((SELECT max(v.confidence) FROM store.votes v
            WHERE v.decision_id = d.id AND v.verdict != 'unknown') - 0.5) END
    FROM changed c CROSS JOIN store.decisions d ON d.id = c.id
    CROSS JOIN store.events e ON e.event_id = d.turn_event_id
    LEFT JOIN store.labels l ON l.id = (SELECT x.id FROM store.labels x WHERE x.decision_id = d.id
        ORDER BY x.verdict = 'ignored' DESC, x.verdict = 'followed' DESC, x.confidence DESC LIMIT 1)
    LEFT JOIN store.directions g ON g.id = l.direction_id
    LEFT JOIN sentences s ON s.text = g.text
    WHERE true ORDER BY d.rowid
    ON CONFLICT (id) DO UPDATE SET verdict = excluded.verdict, label = excluded.label,
        sentence = excluded.sentence, doubt = excluded.doubt;
INSERT OR REPLACE INTO judgements
    SELECT l.id, p.number, s.number, l.verdict, p.at
    FROM changed c CROSS JOIN points p ON p.id = c.id CROSS JOIN store.labels l ON l.decision_id = c.id
    LEFT JOIN store.directions g ON g.id = l.direction_id
    LEFT JOIN sentences s ON s.text = g.text;
INSERT INTO point_words (rowid, answer, direction)
    SELECT p.number,
        substr(iif(e.tool_calls = '[]', e.content, e.content || ' ' || e.tool_calls), 1, {_WORDS}), s.text
    FROM changed c CROSS JOIN points p ON p.id = c.id CROSS JOIN store.events e ON e.event_id = p.turn
    LEFT JOIN sentences s ON s.number = p.sentence
"""

_FORGET = """
DELETE FROM judgements WHERE point IN
    (SELECT number FROM points WHERE id NOT IN (SELECT id FROM store.decisions));
DELETE FROM point_words WHERE rowid IN
    (SELECT number FROM points WHERE id NOT IN (SELECT id FROM store.decisions));
DELETE FROM points WHERE id NOT IN (SELECT id FROM store.decisions);
DELETE FROM sentences WHERE text NOT IN (SELECT text FROM store.directions)
"""


class Digest:
    """The digest under `home`, made where it is missing. From confidence `sure` on nothing is doubtful."""

    def __init__(self, home: Path, sure: float) -> None:
        self.path = home / DIGEST
        self._sure = sure
        self._seen = -1
        self._connection = _open(self.path)
        self._connection.execute("ATTACH ? AS store", (f"file:{home / FILE_NAME}?mode=ro",))
        self._connection.execute("CREATE TEMP TABLE changed (id TEXT PRIMARY KEY)")
        with self._write() as connection:
            connection.execute(  # a new digest reads labels with their decisions: only newer ones are news
                "INSERT OR IGNORE INTO marks SELECT 'labels', ifnull(max(id), 0) FROM store.labels"
                " UNION ALL SELECT 'label_history', ifnull(max(id), 0) FROM store.label_history"
            )

    def refresh(self) -> bool:
        """Take in what changed in the store, one batch of it. Returns whether there may be more."""
        (seen,) = self._connection.execute("PRAGMA store.data_version").fetchone()
        if seen == self._seen:
            return False
        with self._write() as connection:
            self._forget(connection)
            more = self._read_directions(connection)
            more = more or any(self._read_decisions(connection, source) for source in _CHANGED)
        if not more:
            self._seen = seen
            for schema in ("main", "store"):
                self._connection.execute(f"PRAGMA {schema}.cache_size = -{_SETTLED_KIB}")
        return more

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _read_directions(self, connection: sqlite3.Connection) -> bool:
        last = _mark(connection, "directions")
        rows = connection.execute(
            "SELECT rowid, id, text, scope FROM store.directions WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (last, _BATCH),
        ).fetchall()
        connection.executemany(
            "INSERT OR IGNORE INTO sentences (id, text, scope) VALUES (?, ?, ?)", [row[1:] for row in rows]
        )
        if rows:
            _set_mark(connection, "directions", rows[-1][0])
        return len(rows) == _BATCH

    def _read_decisions(self, connection: sqlite3.Connection, source: str) -> bool:
        """Digest again those that one source says have changed."""
        last = _mark(connection, source)
        if source == "labels":
            last = _last_known_label(connection, last)
        rows = connection.execute(_CHANGED[source], (last, _BATCH)).fetchall()
        if rows:
            connection.execute("DELETE FROM changed")
            connection.executemany("INSERT OR IGNORE INTO changed VALUES (?)", [(row[1],) for row in rows])
            for statement in _DIGEST_CHANGED.split(";"):
                connection.execute(statement, {"sure": self._sure} if ":sure" in statement else {})
            _set_mark(connection, source, rows[-1][0])
        return len(rows) == _BATCH

    def _forget(self, connection: sqlite3.Connection) -> None:
        """Drop what the store's retention has removed."""
        row = connection.execute("SELECT value FROM store.counters WHERE name = 'events_emptied'").fetchone()
        emptied = 0 if row is None else row[0]
        if emptied == _mark(connection, "events_emptied"):
            return
        for statement in _FORGET.split(";"):
            connection.execute(statement)
        for source in ("directions", "label_history", "decisions"):  # row numbers may be given again
            table_has = connection.execute(f"SELECT ifnull(max(rowid), 0) FROM store.{source}").fetchone()[0]
            _set_mark(connection, source, min(table_has, _mark(connection, source)))
        _set_mark(connection, "events_emptied", emptied)


def _last_known_label(connection: sqlite3.Connection, mark: int) -> int:
    """Return the newest label up to a mark that is still what it was: SQLite gives the ids of the newest
    rows again when those are deleted.
    """
    row = connection.execute(
        "SELECT j.label FROM judgements j JOIN points p ON p.number = j.point"
        " JOIN store.labels l ON l.id = j.label AND l.decision_id = p.id"
        " WHERE j.label <= ? ORDER BY j.label DESC LIMIT 1",
        (mark,),
    ).fetchone()
    return mark if row is None else int(row[0])


def _mark(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _set_mark(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _open(path: Path) -> sqlite3.Connection:
    """Open the digest for writing; one that is damaged or of another format is made again."""
    connection = _connect(path)
    try:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:
        found = -1
    if found != _FORMAT:
        connection.close()
        for end in _REMOVED:
            path.with_name(path.name + end).unlink(missing_ok=True)
        connection = _connect(path)
        connection.executescript(
            f"PRAGMA journal_mode = WAL; BEGIN; {files(__package__).joinpath('digest.sql').read_text()};"
            f"PRAGMA user_version = {_FORMAT}; COMMIT"
        )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigError(f"the ui cannot write {path}: {error.strerror}") from error
    connection = sqlite3.connect(f"file:{path}", uri=True, timeout=15, check_same_thread=False)
    connection.isolation_level = None
    return connection
