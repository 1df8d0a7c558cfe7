-- What the ui shows, as temporary views of each of its read-only connections: nothing is written to the store.
-- `main` is heedloop.db, `digest` is ui.db. A column that is called as one thing of a view (decision, version, ...)
-- holds its id, and becomes a link. Views of many rows look things up instead of joining them: SQLite leaves out
-- what a count does not need.

CREATE TEMP VIEW decisions AS
SELECT p.id, p.number, strftime('%Y-%m-%d %H:%M:%S', p.at / 1000, 'unixepoch') AS "when",
    (SELECT text FROM digest.sentences WHERE number = p.sentence) AS direction,
    (SELECT id FROM digest.sentences WHERE number = p.sentence) AS direction_id,
    (SELECT CASE WHEN p.call_index = 0 AND content != '' THEN content
            ELSE json_extract(tool_calls, '$[' || p.call_index || '].name') || ' '
                || json_extract(tool_calls, '$[' || p.call_index || '].arguments') END
        FROM main.events WHERE event_id = p.turn) AS answer,
    p.verdict AS label, (SELECT confidence FROM main.labels WHERE id = p.label) AS confidence,
    (SELECT labeller FROM main.labels WHERE id = p.label) AS said_by,
    (SELECT evidence FROM main.labels WHERE id = p.label) AS evidence, p.turn,
    (SELECT conversation_id FROM main.events WHERE event_id = p.turn) AS conversation,
    (SELECT agent FROM main.events WHERE event_id = p.turn) AS agent,
    (SELECT weight_version FROM main.events WHERE event_id = p.turn) AS version
FROM digest.points p;

CREATE TEMP VIEW labels AS
SELECT j.label AS id, strftime('%Y-%m-%d %H:%M:%S', j.at / 1000, 'unixepoch') AS "when",
    (SELECT id FROM digest.points WHERE number = j.point) AS decision,
    (SELECT text FROM digest.sentences WHERE number = j.sentence) AS direction,
    (SELECT id FROM digest.sentences WHERE number = j.sentence) AS direction_id, j.verdict AS label,
    (SELECT confidence FROM main.labels WHERE id = j.label) AS confidence,
    (SELECT labeller FROM main.labels WHERE id = j.label) AS said_by,
    (SELECT evidence FROM main.labels WHERE id = j.label) AS evidence
FROM digest.judgements j;

CREATE TEMP VIEW directions AS
SELECT s.id, s.number, s.text AS direction, s.scope, s.followed + s.ignored AS judged, s.followed, s.ignored,
    s.unknown, 1.0 * s.followed / nullif(s.followed + s.ignored, 0) AS follow_rate,
    strftime('%Y-%m-%d %H:%M:%S', s.latest / 1000, 'unixepoch') AS latest,
    (SELECT count(*) FROM main.examples x
        WHERE x.direction = s.text AND x.kind = 'correction' AND x.parent IS NULL) AS examples
FROM digest.sentences s;

CREATE TEMP VIEW corrections AS
SELECT c.event_id AS id, c.rowid AS number, strftime('%Y-%m-%d %H:%M:%S', c.received / 1000, 'unixepoch') AS "when",
    c.author, c.agent, c.source, c.verdict, c.direction, s.id AS direction_id, e.content AS answer,
    c.corrected, c.state, c.turn_event_id || '#0' AS decision
FROM main.corrections c
LEFT JOIN main.events e ON e.event_id = c.turn_event_id
LEFT JOIN digest.sentences s ON s.text = c.direction;

CREATE TEMP VIEW examples AS
SELECT x.id, x.rowid AS number, strftime('%Y-%m-%d %H:%M:%S', x.created / 1000, 'unixepoch') AS "when", x.kind,
    x.direction, s.id AS direction_id, x.rejected AS answer, x.chosen AS corrected, x.state, x.origin, x.author,
    x.decision_id AS decision, x.parent AS example,
    (SELECT count(*) FROM main.step_rows r JOIN main.steps t ON t.id = r.step_id
        WHERE r.example_id = x.id AND t.state = 'confirmed') AS uses
FROM main.examples x
LEFT JOIN digest.sentences s ON s.text = x.direction;

CREATE TEMP VIEW steps AS
SELECT t.id, strftime('%Y-%m-%d %H:%M:%S', ifnull(t.finished, t.intent) / 1000, 'unixepoch') AS "when", t.state,
    (SELECT group_concat(direction, ' | ') FROM (SELECT DISTINCT c.direction FROM main.step_rows r
        JOIN main.examples x ON x.id = r.example_id JOIN main.examples c ON c.id = ifnull(x.parent, x.id)
        WHERE r.step_id = t.id AND r.kind = 'correction')) AS learned,
    t.loss, t.learning_rate, t.replay_share, t.seconds,
    json_extract(t.detail, '$.gradient_norm') AS gradient_norm, json_extract(t.detail, '$.reason') AS reason,
    (SELECT v.id FROM main.versions v WHERE v.kind = 'train' AND t.id BETWEEN v.first_step AND v.last_step
        ORDER BY v.rowid DESC LIMIT 1) AS version
FROM main.steps t;

CREATE TEMP VIEW rows_of_steps AS
SELECT r.step_id AS step, r.slot, r.kind, r.loss, x.direction, s.id AS direction_id, x.rejected AS answer,
    x.chosen AS corrected, r.example_id AS example
FROM main.step_rows r
LEFT JOIN main.examples x ON x.id = r.example_id
LEFT JOIN digest.sentences s ON s.text = x.direction;

CREATE TEMP VIEW versions AS
SELECT v.id, v.rowid AS number, strftime('%Y-%m-%d %H:%M:%S', v.created / 1000, 'unixepoch') AS "when", v.kind,
    iif(v.rowid = (SELECT max(rowid) FROM main.versions), 'live', v.state) AS state,
    v.first_step, v.last_step,
    -- What was measured of later steps, not kept yet, is no word on this version.
    (SELECT p.verdict FROM main.probes p WHERE p.version_id = v.id AND p.step_id <= ifnull(v.last_step, 0)
        ORDER BY p.id DESC LIMIT 1) AS probes_said,
    (SELECT group_concat(tag, ', ') FROM main.version_tags WHERE version_id = v.id) AS tags,
    (SELECT group_concat(name, ', ') FROM main.branches WHERE version_id = v.id) AS branches,
    v.bytes, v.moments, v.note, v.parent, v.fingerprint
FROM main.versions v;

CREATE TEMP VIEW probes AS
SELECT p.id, strftime('%Y-%m-%d %H:%M:%S', p.created / 1000, 'unixepoch') AS "when", p.verdict, p.reason,
    (SELECT value FROM main.probe_values WHERE probe_id = p.id AND name = 'follow') AS follow,
    (SELECT value FROM main.probe_values WHERE probe_id = p.id AND name = 'nll') AS nll,
    (SELECT value FROM main.probe_values WHERE probe_id = p.id AND name = 'facts') AS facts,
    (SELECT value FROM main.probe_values WHERE probe_id = p.id AND name = 'kl') AS kl,
    (SELECT value FROM main.probe_values WHERE probe_id = p.id AND name = 'leak') AS leak,
    p.step_id AS step, p.version_id AS version, p.seconds
FROM main.probes p;

CREATE TEMP VIEW rollbacks AS
SELECT v.id, v.rowid AS number, strftime('%Y-%m-%d %H:%M:%S', v.created / 1000, 'unixepoch') AS "when",
    v.note AS why, v.parent AS version,
    (SELECT count(*) FROM main.steps t WHERE t.state = 'rolled_back' AND t.id > ifnull(v.last_step, 0)
        AND t.intent <= v.created) AS steps_undone,
    (SELECT count(*) FROM main.quarantine q WHERE q.created BETWEEN v.created AND v.created + 60000
        AND instr(v.note, q.reason)) AS quarantined,
    (SELECT p.id FROM main.probes p WHERE p.verdict = 'breach' AND p.created <= v.created + 60000
        ORDER BY p.id DESC LIMIT 1) AS probe
FROM main.versions v WHERE v.kind = 'rollback';

CREATE TEMP VIEW quarantine AS
SELECT q.id, strftime('%Y-%m-%d %H:%M:%S', q.created / 1000, 'unixepoch') AS "when", q.reason, q.score,
    ifnull(q.verdict, 'waits') AS verdict, strftime('%Y-%m-%d %H:%M:%S', q.decided / 1000, 'unixepoch') AS decided,
    x.direction, s.id AS direction_id, x.chosen AS corrected, x.author, q.example_id AS example
FROM main.quarantine q
LEFT JOIN main.examples x ON x.id = q.example_id
LEFT JOIN digest.sentences s ON s.text = x.direction;

CREATE TEMP VIEW reviews AS
SELECT r.subject || ' ' || r.id AS id, r.rowid AS number,
    strftime('%Y-%m-%d %H:%M:%S', r.created / 1000, 'unixepoch') AS "when", r.subject, r.reason,
    ifnull(r.verdict, 'waits') AS verdict, strftime('%Y-%m-%d %H:%M:%S', r.decided / 1000, 'unixepoch') AS decided,
    ifnull(c.author, x.author) AS author, ifnull(c.direction, x.direction) AS direction,
    ifnull(c.corrected, x.chosen) AS corrected, c.event_id AS correction, x.id AS example
FROM main.reviews r
LEFT JOIN main.corrections c ON r.subject = 'correction' AND c.event_id = r.id
LEFT JOIN main.examples x ON r.subject = 'example' AND x.id = r.id;

CREATE TEMP VIEW turns AS
SELECT e.event_id AS id, e.seq AS number, strftime('%Y-%m-%d %H:%M:%S', e.ts / 1000, 'unixepoch') AS "when",
    e.role, iif(e.tool_calls = '[]', e.content, trim(e.content || ' ' || e.tool_calls)) AS content,
    e.conversation_id AS conversation, e.agent, e.weight_version AS version, e.source
FROM main.events e;
