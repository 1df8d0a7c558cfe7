-- The ui's own file beside the store, `ui.db`: what would be too slow to work out for each page.
-- It may be deleted at any time; it is made again from the store.

CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;

CREATE TABLE sentences (                     -- directions, those of the same words as one
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,                 -- of the first direction with these words
    text TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    followed INTEGER NOT NULL DEFAULT 0,     -- labels in force, kept by the triggers below
    ignored INTEGER NOT NULL DEFAULT 0,
    unknown INTEGER NOT NULL DEFAULT 0,
    latest INTEGER                           -- time of the last turn that was judged by it
) STRICT;
CREATE INDEX sentences_by_use ON sentences (followed + ignored, number);

CREATE TABLE points (                        -- decision points
    number INTEGER PRIMARY KEY,              -- in the order in which the store got them
    id TEXT NOT NULL UNIQUE,
    turn TEXT NOT NULL,                      -- event id of the assistant turn
    call_index INTEGER NOT NULL,
    at INTEGER NOT NULL,                     -- time of the turn, UTC milliseconds
    verdict TEXT NOT NULL,                   -- the worst of its labels
    label INTEGER,                           -- that label
    sentence INTEGER,                        -- whose direction it is about
    doubt REAL                               -- 0: its surest vote is a coin's toss; NULL: something is sure
) STRICT;
CREATE INDEX points_by_verdict ON points (verdict, number);
CREATE INDEX points_by_time ON points (verdict, at);
CREATE INDEX points_by_doubt ON points (doubt) WHERE doubt IS NOT NULL;

CREATE TABLE judgements (                    -- labels in force
    label INTEGER PRIMARY KEY,
    point INTEGER NOT NULL,
    sentence INTEGER,
    verdict TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX judgements_by_point ON judgements (point);
CREATE INDEX judgements_by_sentence ON judgements (sentence, verdict, at);
CREATE TRIGGER judged AFTER INSERT ON judgements WHEN NEW.sentence IS NOT NULL BEGIN
    UPDATE sentences SET
        followed = followed + (NEW.verdict = 'followed'),
        ignored = ignored + (NEW.verdict = 'ignored'),
        unknown = unknown + (NEW.verdict = 'unknown'),
        latest = max(ifnull(latest, 0), NEW.at)
    WHERE number = NEW.sentence; END;
CREATE TRIGGER judged_no_more AFTER DELETE ON judgements WHEN OLD.sentence IS NOT NULL BEGIN
    UPDATE sentences SET
        followed = followed - (OLD.verdict = 'followed'),
        ignored = ignored - (OLD.verdict = 'ignored'),
        unknown = unknown - (OLD.verdict = 'unknown')
    WHERE number = OLD.sentence; END;

CREATE VIRTUAL TABLE sentence_words USING fts5(
    text, content='sentences', content_rowid='number', tokenize='porter unicode61');
CREATE TRIGGER sentence_read AFTER INSERT ON sentences BEGIN
    INSERT INTO sentence_words (rowid, text) VALUES (NEW.number, NEW.text); END;
CREATE TRIGGER sentence_forgotten AFTER DELETE ON sentences BEGIN
    INSERT INTO sentence_words (sentence_words, rowid, text) VALUES ('delete', OLD.number, OLD.text); END;

CREATE VIRTUAL TABLE point_words USING fts5(answer, direction, tokenize='porter unicode61');
