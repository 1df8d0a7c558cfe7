"""The tables, as an ordered set of migrations (sqlite-utils' own, one transaction each)."""

from __future__ import annotations

from sqlite_utils import Migrations
from sqlite_utils.db import Database

migrations = Migrations("heedloop")

SCHEMA = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,                 -- order of arrival
    event_id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    tool_calls TEXT NOT NULL DEFAULT '[]',   -- JSON
    tool_call_id TEXT,
    ts INTEGER NOT NULL,                     -- UTC milliseconds
    model TEXT,
    weight_version TEXT,
    interrupted INTEGER NOT NULL DEFAULT 0,  -- 1: broken off, or typed after that
    source TEXT NOT NULL,                    -- mqtt | log:<path> | cli:<path>
    received INTEGER NOT NULL,
    retained INTEGER NOT NULL DEFAULT 0      -- 1: looked at and kept for good; 2: the id alone is kept
) STRICT;
CREATE INDEX events_by_conversation ON events (conversation_id, seq);
CREATE INDEX events_by_age ON events (received) WHERE retained = 0;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,                   -- at most 64 KiB of it
    bytes INTEGER NOT NULL,
    received INTEGER NOT NULL,
    digest TEXT NOT NULL,                    -- of what came: the same letter from the same place is one
    repeats INTEGER NOT NULL DEFAULT 0       -- how often it came again
) STRICT;
CREATE UNIQUE INDEX dead_letters_once ON dead_letters (source, reason, digest);
CREATE INDEX dead_letters_by_age ON dead_letters (received);

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;

CREATE TABLE offsets (
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    path TEXT NOT NULL,                      -- the name it had last
    offset INTEGER NOT NULL,                 -- bytes that are in the store
    fingerprint TEXT NOT NULL,               -- of the bytes before offset: another one is another file
    format TEXT,                             -- NULL: of no known kind
    state TEXT NOT NULL,                     -- what the reader of the format goes on with
    records INTEGER NOT NULL,                -- turns, noise or bad ones
    decisions INTEGER NOT NULL,
    alerted INTEGER NOT NULL,                -- 1: that it is not understood, or has no decision, was said
    updated INTEGER NOT NULL,
    PRIMARY KEY (device, inode)
) STRICT;

CREATE TABLE corrections (
    event_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    turn_event_id TEXT NOT NULL,
    verdict TEXT NOT NULL,
    direction TEXT,
    corrected TEXT,
    author TEXT,
    state TEXT NOT NULL,                     -- waiting (its turn has not come) | applied | held | rejected
    received INTEGER NOT NULL,
    source TEXT NOT NULL                     -- mqtt | cli | http
) STRICT;
CREATE INDEX corrections_by_turn ON corrections (turn_event_id);
CREATE INDEX corrections_by_agent ON corrections (agent, received);

CREATE TABLE directions (
    id TEXT PRIMARY KEY,                     -- <event_id>/<n>: the n-th directing sentence of a turn
    conversation_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    text TEXT NOT NULL,
    scope TEXT NOT NULL
) STRICT;

CREATE TABLE decisions (
    id TEXT PRIMARY KEY,                     -- <event_id>#<call_index>
    conversation_id TEXT NOT NULL,
    turn_event_id TEXT NOT NULL REFERENCES events (event_id),
    call_index INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_by_turn ON decisions (turn_event_id);

CREATE TABLE decision_directions (
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    direction_id TEXT NOT NULL REFERENCES directions (id),
    PRIMARY KEY (decision_id, direction_id)
) STRICT;

CREATE TABLE labels (                        -- in force
    id INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    direction_id TEXT REFERENCES directions (id),
    verdict TEXT NOT NULL,
    confidence REAL NOT NULL,
    labeller TEXT NOT NULL,                  -- the one that has the word
    evidence TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX labels_once ON labels (decision_id, ifnull(direction_id, ''), labeller);
CREATE INDEX labels_by_verdict ON labels (decision_id, verdict);

CREATE TABLE votes (                         -- what the labels were made of
    id INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    direction_id TEXT REFERENCES directions (id),
    verdict TEXT NOT NULL,
    confidence REAL NOT NULL,
    labeller TEXT NOT NULL,
    evidence TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX votes_once ON votes (decision_id, ifnull(direction_id, ''), labeller);

CREATE TABLE label_history (                 -- labels and votes that hold no longer
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,                      -- labels | votes
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    direction_id TEXT,
    verdict TEXT NOT NULL,
    confidence REAL NOT NULL,
    labeller TEXT NOT NULL,
    evidence TEXT NOT NULL,
    created INTEGER NOT NULL,
    replaced INTEGER NOT NULL
) STRICT;
CREATE INDEX label_history_by_decision ON label_history (decision_id);

CREATE TABLE opinions_waiting (              -- decisions that a labeller with I/O is still to be asked about
    seq INTEGER PRIMARY KEY,                 -- order of asking
    labeller TEXT NOT NULL,
    decision_id TEXT NOT NULL REFERENCES decisions (id),
    UNIQUE (labeller, decision_id)
) STRICT;

CREATE TABLE calibrations (
    id INTEGER PRIMARY KEY,
    labeller TEXT NOT NULL,
    slope REAL NOT NULL,                     -- on the log-odds of the confidence
    intercept REAL NOT NULL,
    weight REAL NOT NULL,                    -- 0: not believed at all
    rows INTEGER NOT NULL,                   -- it was fitted on
    data TEXT NOT NULL,                      -- what they were
    fitted TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE examples (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,                      -- correction | general
    decision_id TEXT REFERENCES decisions (id),
    direction TEXT,
    context TEXT NOT NULL,                   -- JSON messages
    chosen TEXT,
    rejected TEXT,
    twin_context TEXT,                       -- JSON messages
    weight REAL NOT NULL,
    origin TEXT NOT NULL,
    author TEXT,
    state TEXT NOT NULL,                     -- needs_pair | ready | held | quarantined | superseded | refused
    quota INTEGER NOT NULL,                  -- times it is to be trained on (corrections)
    created INTEGER NOT NULL,
    parent TEXT REFERENCES examples (id)     -- the correction that it rehearses
) STRICT;
CREATE UNIQUE INDEX examples_once ON examples (decision_id) WHERE state NOT IN ('superseded', 'held');
CREATE INDEX examples_by_direction ON examples (direction) WHERE kind = 'correction';
CREATE INDEX examples_by_decision ON examples (decision_id);
CREATE INDEX examples_by_state ON examples (kind, state, quota);
CREATE INDEX examples_by_parent ON examples (parent) WHERE parent IS NOT NULL;
CREATE TRIGGER rehearsals_follow_their_correction AFTER UPDATE OF state ON examples
    WHEN NEW.parent IS NULL AND NEW.state != OLD.state
    BEGIN
        UPDATE examples SET state = NEW.state
        WHERE parent = NEW.id AND state = OLD.state AND chosen NOTNULL; END;

CREATE TABLE reviews (                       -- what waits for a person's word
    subject TEXT NOT NULL,                   -- correction | example
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    verdict TEXT,                            -- accepted | refused; NULL: it waits
    decided INTEGER,
    PRIMARY KEY (subject, id)
) STRICT;
CREATE INDEX reviews_waiting ON reviews (created) WHERE verdict IS NULL;

CREATE TABLE quarantine (                    -- what was taken out of training, and a person's word on it
    id INTEGER PRIMARY KEY,
    example_id TEXT NOT NULL REFERENCES examples (id),
    reason TEXT NOT NULL,
    score REAL,                              -- how far it caused the breach, of the worst; NULL: not measured
    created INTEGER NOT NULL,
    verdict TEXT,                            -- released | dropped | acquitted; NULL: it waits
    decided INTEGER
) STRICT;
CREATE INDEX quarantine_by_example ON quarantine (example_id);

CREATE TABLE versions (
    id TEXT PRIMARY KEY,
    parent TEXT REFERENCES versions (id),
    kind TEXT NOT NULL,                      -- base | train | rollback | vector | steer
    first_step INTEGER,
    last_step INTEGER,
    file TEXT,                               -- in versions/; NULL for the base
    sha256 TEXT,                             -- of that file
    bytes INTEGER,                           -- of that file
    full_bytes INTEGER,                      -- of its tensors, uncompressed
    save_ms REAL,                            -- to write it and the trainer's state
    trainer TEXT,                            -- file of the trainer's state; NULL: moments begin fresh
    trainer_sha256 TEXT,
    trainer_bytes INTEGER,
    moments TEXT NOT NULL,                   -- training went on with: kept | restored | fresh
    fingerprint TEXT NOT NULL,               -- hash of all live bytes
    state TEXT NOT NULL,                     -- good | dropped (file retired) | damaged (unreadable)
    note TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE version_tags (                  -- a version with one is kept for ever
    tag TEXT PRIMARY KEY,
    version_id TEXT NOT NULL REFERENCES versions (id),
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE branches (
    name TEXT PRIMARY KEY,
    version_id TEXT NOT NULL REFERENCES versions (id),
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE applications (                  -- of task vectors
    version_id TEXT PRIMARY KEY REFERENCES versions (id),
    vector TEXT NOT NULL,
    vector_id TEXT NOT NULL,                 -- of the file: another one may take the name later
    scale REAL NOT NULL,
    undoes TEXT REFERENCES versions (id)     -- whose addition it took out again
) STRICT;

CREATE TABLE steering (                      -- what versions of kind steer add to the residual stream
    version_id TEXT NOT NULL REFERENCES versions (id),
    name TEXT NOT NULL,
    scale REAL NOT NULL,
    layer INTEGER,                           -- NULL: the vector's own
    anneal INTEGER NOT NULL,                 -- 1: less as the weights learn it
    PRIMARY KEY (version_id, name)
) STRICT;

CREATE TABLE steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id TEXT NOT NULL REFERENCES versions (id),  -- the durable version it builds on
    state TEXT NOT NULL,                     -- intent | confirmed | dropped | redo | rolled_back
    learning_rate REAL NOT NULL,
    replay_share REAL NOT NULL,
    loss REAL,
    seconds REAL,
    changed_bytes INTEGER,
    detail TEXT NOT NULL DEFAULT '{}',       -- JSON
    intent INTEGER NOT NULL,
    finished INTEGER
) STRICT;

CREATE TABLE step_rows (
    step_id INTEGER NOT NULL REFERENCES steps (id),
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,                      -- correction | reminder | twin | general
    example_id TEXT NOT NULL REFERENCES examples (id),
    loss REAL,
    PRIMARY KEY (step_id, slot)
) STRICT;
CREATE INDEX step_rows_by_example ON step_rows (example_id);

CREATE TABLE probes (
    id INTEGER PRIMARY KEY,
    step_id INTEGER,                         -- the last confirmed step before it
    version_id TEXT REFERENCES versions (id),  -- the version it judged or made
    verdict TEXT NOT NULL,                   -- baseline | accept | breach
    reason TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE probe_values (
    probe_id INTEGER NOT NULL REFERENCES probes (id),
    name TEXT NOT NULL,
    value REAL NOT NULL,
    items TEXT NOT NULL,                     -- JSON: score of each item, in order
    PRIMARY KEY (probe_id, name)
) STRICT;

CREATE TABLE commands (
    event_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    command TEXT NOT NULL,
    args TEXT NOT NULL,
    state TEXT NOT NULL,                     -- waiting | applied (in the rows) | done | failed | refused
    result TEXT NOT NULL DEFAULT '{}',
    received INTEGER NOT NULL,
    finished INTEGER
) STRICT;

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    payload TEXT NOT NULL,                   -- one event of contract v1
    created INTEGER NOT NULL,
    sent INTEGER
) STRICT;
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent IS NULL;

CREATE TABLE processes (
    name TEXT PRIMARY KEY,
    pid INTEGER,
    state TEXT NOT NULL,                     -- starting | ready | restarting | stopped | failed
    restarts INTEGER NOT NULL DEFAULT 0,
    detail TEXT NOT NULL DEFAULT '',
    updated INTEGER NOT NULL
) STRICT;

CREATE TABLE answers (
    seq INTEGER PRIMARY KEY,
    response_id TEXT,                        -- NULL where the server gave none
    choice INTEGER NOT NULL,
    path TEXT NOT NULL,
    status INTEGER,                          -- of HTTP; NULL: none was sent
    outcome TEXT NOT NULL,                   -- finished | abandoned | failed
    digest TEXT,                             -- of what it says (policies.answers)
    started_version TEXT,                    -- the weights when its request came
    started_step INTEGER,
    started INTEGER NOT NULL,
    ended_version TEXT,                      -- the weights when its last byte went out
    ended_step INTEGER,
    ended INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_by_response ON answers (response_id);
CREATE INDEX answers_by_digest ON answers (digest, ended);

CREATE TABLE log_losses (                    -- committed changes that a cut write-ahead log took away
    id INTEGER PRIMARY KEY,
    frames INTEGER NOT NULL,                 -- of the log
    newest_event TEXT,                       -- the last one that is still there
    newest_ts INTEGER,                       -- when it came
    found INTEGER NOT NULL
) STRICT;

CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL, updated INTEGER NOT NULL) STRICT;
"""


@migrations()
def initial_schema(db: Database) -> None:
    """Create every table of the foundation."""
    _execute(db, SCHEMA)


@migrations()
def steering_vector_id(db: Database) -> None:
    """Let a version say which file it steers by: another one may take the name later."""
    db.execute("ALTER TABLE steering ADD COLUMN vector_id TEXT")


INDEXES = """
DROP INDEX examples_by_state;
CREATE INDEX examples_by_state ON examples (kind, state, id, quota, parent, created);
CREATE INDEX examples_for_replay ON examples (kind, state, origin, id)
    WHERE kind = 'general' AND state = 'ready';
DROP INDEX step_rows_by_example;
CREATE INDEX step_rows_by_example ON step_rows (example_id, kind, step_id);
CREATE INDEX steps_that_do_not_count ON steps (id) WHERE state != 'confirmed';
CREATE INDEX corrections_waiting ON corrections (received) WHERE state = 'waiting';
CREATE INDEX commands_waiting ON commands (received) WHERE state = 'waiting';
CREATE INDEX corrections_by_conversation ON corrections (conversation_id);
CREATE INDEX directions_by_conversation ON directions (conversation_id);
CREATE INDEX decisions_by_conversation ON decisions (conversation_id);
CREATE INDEX labels_by_direction ON labels (direction_id);
CREATE INDEX votes_by_direction ON votes (direction_id);
CREATE INDEX decision_directions_by_direction ON decision_directions (direction_id);
CREATE INDEX opinions_waiting_by_decision ON opinions_waiting (decision_id);
"""


@migrations()
def indexes_of_polls_and_sweeps(db: Database) -> None:
    """Let what is asked every second, and what a sweep asks under the write lock, read no whole table.

    `examples_by_state` and `step_rows_by_example` get more columns: the rows of examples are long, and what
    is asked of them lies behind their texts. `examples_for_replay` names the columns that are the same in
    all of it, for SQLite takes the index with the most columns that a query fixes.
    """
    _execute(db, INDEXES)


def _execute(db: Database, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
