"""History: what was learned, from which sentence, and what the probes said. Read-only."""

from __future__ import annotations

import json
from typing import Any

from policies.errors import InputError
from store import answers, labels, versions
from store.database import Store

_CONTEXT_TURNS = 10
_SAID = (
    "SELECT x.labeller, x.verdict, x.confidence, g.text AS direction, x.evidence FROM {table} x"
    " LEFT JOIN directions g ON g.id = x.direction_id WHERE x.decision_id = ? ORDER BY x.id"
)


def timeline(store: Store, version_id: str | None = None) -> list[dict[str, Any]]:
    """Return versions, oldest first, each with its steps and the probe run that judged it.

    With `version_id`, only that version. Raises InputError for one that does not exist.
    """
    chosen = versions.every(store)
    if version_id is not None:
        version = versions.get(store, version_id)
        if version is None:
            raise InputError(f"no single version starts with {version_id!r} (see `history`)")
        chosen = [version]
    entries = [_entry(store, version) for version in chosen]
    if version_id is None:
        tail = _steps(store, "s.id > ?", max((v.last_step or 0 for v in chosen), default=0))
        if tail:
            entries.append({"version": None, "steps": tail, "probes": []})
    return entries


def show(store: Store, identifier: str) -> dict[str, Any]:
    """Return one thing with its causes and effects: a step number, or the id of a version, example,
    decision, direction, correction, command or event. Raises InputError when nothing has that id.
    """
    finders = (_step, _version, _example, _decision, _direction, _correction, _command, _event)
    for find in finders:
        found = find(store, identifier)
        if found is not None:
            return found
    raise InputError(
        f"nothing in the store has the id {identifier!r} (ids are printed by `history` and `status`)"
    )


def _entry(store: Store, version: versions.Version) -> dict[str, Any]:
    steps = []
    if version.kind == "train":
        steps = _steps(store, "s.id BETWEEN ? AND ?", version.first_step or 0, version.last_step or 0)
    probes = _dicts(store, "SELECT * FROM probes WHERE version_id = ? ORDER BY id", version.id)
    for probe in probes:
        values = store.rows("SELECT name, value FROM probe_values WHERE probe_id = ?", (probe["id"],))
        probe["values"] = {row["name"]: row["value"] for row in values}
    return {"version": version.model_dump(), "steps": steps, "probes": probes}


def _steps(store: Store, where: str, *parameters: object) -> list[dict[str, Any]]:
    sql = (
        "SELECT s.*, (SELECT count(*) FROM step_rows r JOIN examples e ON e.id = r.example_id"
        " WHERE r.step_id = s.id AND r.kind = 'correction' AND e.parent IS NOT NULL) AS rehearsed"
        f" FROM steps s WHERE {where} ORDER BY s.id"
    )
    return [_with_detail(step) for step in _dicts(store, sql, *parameters)]


def _step(store: Store, identifier: str) -> dict[str, Any] | None:
    if not identifier.isdigit():
        return None
    steps = _steps(store, "s.id = ?", int(identifier))
    if not steps:
        return None
    rows = _dicts(
        store,
        "SELECT r.slot, r.kind, r.example_id, r.loss, e.direction, e.origin, e.chosen, e.parent,"
        " d.turn_event_id,"
        " (SELECT max(c.event_id) FROM corrections c WHERE c.turn_event_id = d.turn_event_id) AS correction,"
        " (SELECT g.event_id FROM directions g JOIN decision_directions x ON x.direction_id = g.id"
        "  WHERE x.decision_id = d.id AND g.text = ifnull(p.direction, e.direction)) AS sentence_event_id"
        " FROM step_rows r JOIN examples e ON e.id = r.example_id"
        " LEFT JOIN examples p ON p.id = e.parent"
        " LEFT JOIN decisions d ON d.id = ifnull(e.decision_id, p.decision_id)"
        " WHERE r.step_id = ? ORDER BY r.slot",
        steps[0]["id"],
    )
    probe = _dicts(store, "SELECT * FROM probes WHERE step_id >= ? ORDER BY id LIMIT 1", steps[0]["id"])
    return {"step": steps[0], "rows": rows, "judged_by_probe": probe[0] if probe else None}


def _version(store: Store, identifier: str) -> dict[str, Any] | None:
    version = versions.get(store, identifier)
    return None if version is None else _entry(store, version)


def _example(store: Store, identifier: str) -> dict[str, Any] | None:
    found = _dicts(store, "SELECT * FROM examples WHERE id = ?", identifier)
    if not found:
        return None
    steps = _dicts(
        store,
        "SELECT r.step_id, r.kind, r.loss, s.state FROM step_rows r JOIN steps s ON s.id = r.step_id"
        " WHERE r.example_id = ? ORDER BY r.step_id",
        identifier,
    )
    decision = None if found[0]["decision_id"] is None else _decision(store, found[0]["decision_id"])
    tried = "SELECT id, state, origin, direction, chosen FROM examples WHERE parent = ? ORDER BY id"
    rehearsed = _dicts(store, tried, identifier)
    return {"example": found[0], "steps": steps, "rehearsals": rehearsed, "decision": decision}


def _decision(store: Store, identifier: str) -> dict[str, Any] | None:
    found = _dicts(store, "SELECT * FROM decisions WHERE id = ?", identifier)
    if not found:
        return None
    turn = found[0]["turn_event_id"]
    event = _dicts(store, "SELECT * FROM events WHERE event_id = ?", turn)[0]
    return {
        "decision": found[0],
        "turn": event,
        "weights": _weights(store, event),
        "directions": _dicts(
            store,
            "SELECT g.* FROM directions g JOIN decision_directions x ON x.direction_id = g.id"
            " WHERE x.decision_id = ?",
            identifier,
        ),
        "context": _context(store, event),
        "labels": _dicts(store, _SAID.format(table="labels"), identifier),
        "votes": _dicts(store, _SAID.format(table="votes"), identifier),
        "earlier_labels_and_votes": labels.history(store.connection, identifier),
        "corrections": _dicts(store, "SELECT * FROM corrections WHERE turn_event_id = ?", turn),
        "examples": _dicts(
            store,
            "SELECT e.id, e.state, e.origin, (SELECT count(*) FROM examples r WHERE r.parent = e.id"
            " AND r.chosen IS NOT NULL) AS rehearsals FROM examples e WHERE e.decision_id = ?",
            identifier,
        ),
    }


def _context(store: Store, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the last turns before one, oldest first."""
    found = _dicts(
        store,
        "SELECT event_id, role, content FROM events WHERE conversation_id = ? AND seq < ?"
        " ORDER BY seq DESC LIMIT ?",
        event["conversation_id"],
        event["seq"],
        _CONTEXT_TURNS,
    )
    return found[::-1]


def _direction(store: Store, identifier: str) -> dict[str, Any] | None:
    found = _dicts(store, "SELECT * FROM directions WHERE id = ?", identifier)
    if not found:
        return None
    decisions = _dicts(
        store, "SELECT decision_id FROM decision_directions WHERE direction_id = ?", identifier
    )
    return {"direction": found[0], "decisions": [row["decision_id"] for row in decisions]}


def _correction(store: Store, identifier: str) -> dict[str, Any] | None:
    found = _dicts(store, "SELECT * FROM corrections WHERE event_id = ?", identifier)
    if not found:
        return None
    return {"correction": found[0], "decision": _decision(store, f"{found[0]['turn_event_id']}#0")}


def _command(store: Store, identifier: str) -> dict[str, Any] | None:
    found = _dicts(store, "SELECT * FROM commands WHERE event_id = ?", identifier)
    return {"command": found[0]} if found else None


def _event(store: Store, identifier: str) -> dict[str, Any] | None:
    found = _dicts(store, "SELECT * FROM events WHERE event_id = ?", identifier)
    if not found:
        return None
    decisions = _dicts(store, "SELECT id FROM decisions WHERE turn_event_id = ?", identifier)
    directions = _dicts(store, "SELECT id, text, scope FROM directions WHERE event_id = ?", identifier)
    shown = {"event": found[0], "directions": directions, "decisions": [row["id"] for row in decisions]}
    weights = _weights(store, found[0])
    return shown if weights is None else {**shown, "weights": weights}


def _weights(store: Store, event: dict[str, Any]) -> dict[str, Any] | None:
    """Which weights produced an assistant turn, as the server recorded it; None where it did not."""
    if event["role"] != "assistant":
        return None
    answer = answers.of_turn(store, event)
    return {"found_by": None} if answer is None else answer


def _with_detail(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "detail": json.loads(step["detail"])}


def _dicts(store: Store, sql: str, *parameters: object) -> list[dict[str, Any]]:
    return [dict(row) for row in store.rows(sql, parameters)]
