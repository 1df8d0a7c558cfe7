"""Examples: what the learner trains on, and how often each was trained on.

A use counts when its step is confirmed. A step that is undone (`redo`, `rolled_back`) gives its uses
back, so each example gets its `quota` of uses in the lineage of the live version, once. A batch that
nothing else is left to fill may repeat one, and so exceed it by the rows of one batch.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from policies.example import Example, Kind, Origin
from policies.trust import Sender
from store import reviews
from store.clock import now_ms
from store.database import Store

_TRUST: dict[str, int] = {
    "correction": 5,
    "accepted": 4,
    "repair": 3,
    "few_shot": 2,
    "followed": 1,
    "rehearsal:repair": 0,
    "rehearsal:few_shot": 0,
    "ordinary": 0,
    "base": 0,
}

_USES = """(SELECT count(*) FROM step_rows r WHERE r.example_id = e.id AND r.kind = '{kind}'
            AND r.step_id NOT IN (SELECT id FROM steps WHERE state != 'confirmed'))"""
_KINDS = ("correction", "twin", "general", "reminder")
TRAINED, _TWINNED, _REPLAYED, _REMINDED = (_USES.format(kind=kind) for kind in _KINDS)
"""SQL for the confirmed uses of the example `e`. Few steps are not confirmed: those are looked up, once."""


class Usable(NamedTuple):
    """An example that a batch may hold, and its confirmed uses: as its own kind of row, and as a twin."""

    example: Example
    uses: int
    twin_uses: int
    quota: int


def upsert_correction_example(connection: sqlite3.Connection, example: Example, quota: int) -> bool:
    """Keep an example of a decision; it replaces a less trusted one, and a person's earlier word.

    One already quarantined stays: only `store.quarantine.decide` brings it back. Returns True when kept.
    """
    old = connection.execute(
        "SELECT id, origin, state, chosen FROM examples WHERE decision_id = ?"
        " AND state NOT IN ('superseded', 'held')",
        (example.decision_id,),
    ).fetchone()
    if old is not None:
        if old["state"] == "quarantined" or not _replaces(example, old["origin"], old["chosen"]):
            return False
        connection.execute("UPDATE examples SET state = 'superseded' WHERE id = ?", (old["id"],))
    insert(connection, example, quota)
    return True


def hold_new(connection: sqlite3.Connection, example: Example, quota: int) -> str | None:
    """Keep an example that waits for a person, beside whatever its decision has. Returns its id.

    None where the same one waits already, or a person has refused it.
    """
    old = connection.execute(
        "SELECT 1 FROM examples WHERE decision_id IS ? AND state = 'held' AND chosen IS ?",
        (example.decision_id, example.chosen),
    ).fetchone()
    if old is not None:
        return None
    insert(connection, example.model_copy(update={"state": "held"}), quota)
    return example.id


def hold(connection: sqlite3.Connection, example_ids: Iterable[str], reason: str) -> None:
    """Take examples out of training until a person has decided."""
    for example_id in example_ids:
        connection.execute(
            "UPDATE examples SET state = 'held' WHERE id = ? AND state IN ('ready', 'needs_pair', 'held')",
            (example_id,),
        )
        reviews.ask(connection, "example", example_id, reason)


def release(connection: sqlite3.Connection, example_id: str) -> None:
    """Let a held example train: it takes the place of whatever its decision has."""
    connection.execute(
        "UPDATE examples SET state = 'superseded' WHERE state != 'held'"
        " AND decision_id = (SELECT decision_id FROM examples WHERE id = ?)",
        (example_id,),
    )
    connection.execute(
        "UPDATE examples SET state = iif(chosen IS NULL, 'needs_pair', 'ready')"
        " WHERE id = ? AND state = 'held'",
        (example_id,),
    )


def is_accepted(connection: sqlite3.Connection, example: Example) -> bool:
    """Tell whether a person has let the same answer to the same decision through."""
    row = connection.execute(
        "SELECT 1 FROM examples e JOIN reviews r ON r.subject = 'example' AND r.id = e.id"
        " WHERE r.verdict = 'accepted' AND e.decision_id IS ? AND e.chosen IS ?",
        (example.decision_id, example.chosen),
    ).fetchone()
    return row is not None


def of_direction(
    connection: sqlite3.Connection, direction: str | None, limit: int
) -> list[tuple[Example, Sender]]:
    """Return the newest answers that people wrote under a direction, each with who sent it."""
    return _with_sender(connection, "e.direction = ?", (direction,), limit)


def of_agent(connection: sqlite3.Connection, agent: str, limit: int) -> list[tuple[Example, Sender]]:
    """Return the newest answers that people wrote through one agent, each with who sent it."""
    return _with_sender(connection, "ifnull(c.agent, v.agent) = ?", (agent,), limit)


def ordinary_answers(connection: sqlite3.Connection, limit: int) -> Iterator[tuple[str, Sender | None]]:
    """Yield the newest answers of general replay, each with who sent it: None, the base model itself."""
    rows = connection.execute(
        "SELECT e.chosen, e.origin, v.source, v.agent FROM examples e"
        " LEFT JOIN decisions d ON d.id = e.decision_id LEFT JOIN events v ON v.event_id = d.turn_event_id"
        " WHERE e.kind = 'general' AND e.state = 'ready' AND (e.origin = 'base' OR v.agent IS NOT NULL)"
        " ORDER BY e.id DESC LIMIT ?",
        (limit,),
    )
    for row in rows:
        yield row["chosen"], None if row["origin"] == "base" else Sender(row["source"], row["agent"])


def add_general_example(connection: sqlite3.Connection, example: Example) -> bool:
    """Keep an ordinary turn or a row of the base model's pool for replay. Returns True when new."""
    if (
        example.decision_id is not None
        and connection.execute(
            "SELECT 1 FROM examples WHERE decision_id = ? AND state != 'superseded'", (example.decision_id,)
        ).fetchone()
    ):
        return False
    if connection.execute("SELECT 1 FROM examples WHERE id = ?", (example.id,)).fetchone():
        return False
    insert(connection, example, quota=0)
    return True


def complete_pair(
    connection: sqlite3.Connection, example_id: str, chosen: str | None, origin: Origin
) -> None:
    """Give a `needs_pair` example its chosen decision; None refuses it (no confirmed answer was found)."""
    connection.execute(
        "UPDATE examples SET chosen = ?, origin = ?, state = ? WHERE id = ? AND state = 'needs_pair'",
        (chosen, origin, "refused" if chosen is None else "ready", example_id),
    )


def let_train_unpaired(connection: sqlite3.Connection) -> None:
    """Let corrections train with what they have: a rejected answer alone."""
    connection.execute(
        "UPDATE examples SET state = 'ready'"
        " WHERE kind = 'correction' AND state = 'needs_pair' AND rejected IS NOT NULL"
    )


def require_pairs(connection: sqlite3.Connection) -> None:
    """Let what was let train unpaired wait for its pair again; followed answers go out of training."""
    connection.execute(
        "UPDATE examples SET state = 'needs_pair'"
        " WHERE kind = 'correction' AND state = 'ready' AND chosen IS NULL"
    )
    connection.execute(
        "UPDATE examples SET state = 'superseded' WHERE kind = 'correction' AND state = 'ready'"
        " AND origin = 'followed'"
    )


def refuse(connection: sqlite3.Connection, example_id: str) -> None:
    """Take out an example that no training row can be made of."""
    connection.execute("UPDATE examples SET state = 'refused' WHERE id = ?", (example_id,))


def withdraw(
    connection: sqlite3.Connection, decision_id: str, kind: Kind, *, origin: Origin | None = None
) -> None:
    """Take back the example of a decision that its labels bear out no longer; of one origin, where given."""
    connection.execute(
        "UPDATE examples SET state = 'superseded' WHERE decision_id = ? AND kind = ?"
        " AND state IN ('ready', 'needs_pair') AND origin = ifnull(?, origin)",
        (decision_id, kind, origin),
    )


def keep_followed(connection: sqlite3.Connection, example: Example, quota: int) -> bool:
    """Keep a followed answer that trains by itself. Returns True where it does.

    What was kept of the same decision and direction before comes back with the uses that it had. Answers to
    go to stay at most 4/3 of those to leave, the most that Ethayarajh et al. 2024 recommend: a corrected
    decision is half of each, an ignored one without a right answer is one to leave.
    """
    if connection.execute(
        "SELECT 1 FROM examples WHERE decision_id = ? AND kind = 'correction'"
        " AND state NOT IN ('superseded', 'refused')",
        (example.decision_id,),
    ).fetchone():
        return False
    row = connection.execute(
        "SELECT count(*) FILTER (WHERE origin = 'followed') AS followed,"
        " count(*) FILTER (WHERE origin != 'followed' AND chosen IS NOT NULL) AS pairs,"
        " count(*) FILTER (WHERE chosen IS NULL) AS lone FROM examples"
        " WHERE kind = 'correction' AND parent IS NULL AND state IN ('ready', 'needs_pair')"
    ).fetchone()
    if 6 * (row["followed"] + 1) > row["pairs"] + 8 * row["lone"]:
        return False
    withdraw(connection, str(example.decision_id), "general")
    again = connection.execute(
        "UPDATE examples SET state = 'ready' WHERE decision_id = ? AND origin = 'followed'"
        " AND direction IS ? AND chosen IS ? AND state = 'superseded' RETURNING id",
        (example.decision_id, example.direction, example.chosen),
    ).fetchone()
    if again is None:
        insert(connection, example, quota)
    return True


def quarantine(
    connection: sqlite3.Connection,
    example_ids: Iterable[str],
    reason: str = "",
    scores: Mapping[str, float] = MappingProxyType({}),
) -> int:
    """Take correction examples, and all that rehearses them, out of training. Returns how many.

    A rehearsal takes its correction with it: the one says what the other does. They come back by
    `store.quarantine.decide` alone: by a person's word, or acquitted by the search for the cause.
    `scores` say how far each caused it.
    """
    marked = 0
    for example_id in sorted(_families(connection, example_ids)):
        changed = connection.execute(
            "UPDATE examples SET state = 'quarantined' WHERE id = ? AND kind = 'correction'"
            " AND state NOT IN ('quarantined', 'superseded', 'refused') RETURNING id",
            (example_id,),
        ).fetchone()
        if changed is not None:
            marked += 1
            connection.execute(
                "INSERT INTO quarantine (example_id, reason, score, created) VALUES (?, ?, ?, ?)",
                (example_id, reason, scores.get(example_id), now_ms()),
            )
    return marked


def _families(connection: sqlite3.Connection, example_ids: Iterable[str]) -> set[str]:
    """Return the corrections that some examples are or rehearse. Their rehearsals follow by trigger."""
    found = set()
    for example_id in example_ids:
        row = connection.execute("SELECT parent FROM examples WHERE id = ?", (example_id,)).fetchone()
        found.add(example_id if row is None or row["parent"] is None else str(row["parent"]))
    return found


def pending(store: Store) -> list[Usable]:
    """Return the correction examples that are still to be trained on, oldest first."""
    rows = store.rows(
        f"SELECT e.*, {TRAINED} AS uses, {_TWINNED} AS twin_uses FROM examples e"
        f" WHERE e.kind = 'correction' AND e.state = 'ready' AND {TRAINED} < e.quota ORDER BY e.id"
    )
    return [Usable(_example(row), row["uses"], row["twin_uses"], row["quota"]) for row in rows]


def learned(store: Store) -> list[Example]:
    """Return the correction examples with at least one confirmed use, oldest first, without rehearsals."""
    rows = store.rows(
        f"SELECT e.* FROM examples e WHERE e.kind = 'correction' AND e.state = 'ready' AND {TRAINED} > 0"
        " AND e.parent IS NULL ORDER BY e.id"
    )
    return [_example(row) for row in rows]


def learned_earlier(store: Store, limit: int) -> list[Usable]:
    """Return corrections that had all their uses, the least reminded of first; `uses` are reminders."""
    rows = store.rows(
        f"SELECT e.*, {_REMINDED} AS uses, {_TWINNED} AS twin_uses FROM examples e"
        f" WHERE e.kind = 'correction' AND e.state = 'ready' AND e.parent IS NULL AND {TRAINED} >= e.quota"
        " ORDER BY uses, e.id DESC LIMIT ?",
        (limit,),
    )
    return [Usable(_example(row), row["uses"], row["twin_uses"], 0) for row in rows]


def ready(store: Store) -> list[Example]:
    """Return the correction examples that may be trained on, trained on or not, oldest first."""
    rows = store.rows("SELECT * FROM examples WHERE kind = 'correction' AND state = 'ready' ORDER BY id")
    return [_example(row) for row in rows]


def corrected(store: Store) -> list[Example]:
    """Return the corrections whose answer a person wrote, oldest first: what may be shown as right."""
    return [one for one in ready(store) if one.origin == "correction"]


def needing_pair(store: Store) -> list[Example]:
    """Return the ignored decisions for which nobody has given a right answer yet."""
    rows = store.rows("SELECT * FROM examples WHERE kind = 'correction' AND state = 'needs_pair' ORDER BY id")
    return [_example(row) for row in rows]


def general(store: Store, limit: int, is_fit: Callable[[Example], bool] = lambda _: True) -> list[Usable]:
    """Return general replay: a quarter the agent's newest ordinary turns, the rest the base model's pool.

    Of the ordinary turns the newest `limit` are looked at for some that are fit.
    """
    newest = _general(store, "ordinary", "DESC", limit)
    ordinary = [found for found in newest if is_fit(found.example)][: max(1, limit // 4)]
    pool = [found for found in _general(store, "base", "ASC", limit) if is_fit(found.example)]
    return ordinary + pool[: limit - len(ordinary)]


def plain_systems(store: Store, limit: int) -> list[str]:
    """Return the agent's commonest system turns, as they are without what was learned.

    Those of twins and of ordinary turns, among the newest examples.
    """
    rows = store.rows(
        "SELECT ifnull(twin_context, context) AS context FROM examples WHERE state != 'superseded'"
        " AND parent IS NULL AND (twin_context IS NOT NULL OR origin = 'ordinary') ORDER BY id DESC LIMIT 200"
    )
    firsts = [json.loads(row["context"])[0] for row in rows]
    systems = Counter(turn["content"] for turn in firsts if turn["role"] == "system" and turn["content"])
    return [system for system, _ in systems.most_common(limit)]


def newest_waiting(store: Store) -> int | None:
    """Return when (ms) the newest untrained correction example was made; rehearsals are none."""
    row = store.row(
        "SELECT max(created) AS newest FROM examples WHERE kind = 'correction' AND state = 'ready'"
        " AND parent IS NULL"
        " AND id NOT IN (SELECT example_id FROM step_rows)"
    )
    return None if row is None else row["newest"]


def get(store: Store, example_id: str) -> Example | None:
    """Return one example."""
    row = store.row("SELECT * FROM examples WHERE id = ?", (example_id,))
    return None if row is None else _example(row)


def of_decision(connection: sqlite3.Connection, decision_id: str) -> Example | None:
    """Return the correction example of a decision that counts now."""
    row = connection.execute(
        "SELECT * FROM examples WHERE decision_id = ? AND kind = 'correction'"
        " AND state IN ('ready', 'needs_pair')",
        (decision_id,),
    ).fetchone()
    return None if row is None else _example(row)


def lone_question(context: str) -> str:
    """Return what the user asked in a stored context; empty where they asked more, or no plain text."""
    asked = [m["content"] for m in json.loads(context) if m["role"] == "user"]
    return asked[0] if len(asked) == 1 and isinstance(asked[0], str) else ""


def _with_sender(
    connection: sqlite3.Connection, where: str, parameters: tuple[object, ...], limit: int
) -> list[tuple[Example, Sender]]:
    """Return written answers with the sender of their correction; of the turn where none says its author."""
    rows = connection.execute(
        "SELECT e.*, ifnull(c.agent, v.agent) AS agent, ifnull(c.source, v.source) AS source FROM examples e"
        " JOIN decisions d ON d.id = e.decision_id JOIN events v ON v.event_id = d.turn_event_id"
        " LEFT JOIN corrections c ON c.rowid = (SELECT max(k.rowid) FROM corrections k"
        " WHERE k.turn_event_id = d.turn_event_id AND k.author IS e.author AND k.state = 'applied')"
        f" WHERE e.origin = 'correction' AND {where}"
        " AND e.state IN ('ready', 'needs_pair', 'held') ORDER BY e.id DESC LIMIT ?",
        (*parameters, limit),
    )
    return [(_example(row), Sender(row["source"], row["agent"], row["author"])) for row in rows]


def _replaces(example: Example, origin: str, chosen: str | None) -> bool:
    if example.origin == origin == "correction":
        return example.chosen != chosen
    return _TRUST[example.origin] > _TRUST[origin]


def _general(store: Store, origin: Origin, order: str, limit: int) -> list[Usable]:
    rows = store.rows(
        f"SELECT e.*, {_REPLAYED} AS uses FROM examples e WHERE e.kind = 'general' AND e.state = 'ready'"
        f" AND e.origin = ? ORDER BY e.id {order} LIMIT ?",
        (origin, limit),
    )
    return [Usable(_example(row), row["uses"], 0, 0) for row in rows]


def insert(connection: sqlite3.Connection, example: Example, quota: int) -> None:
    """Write an example as it is. Raises IntegrityError where its id or its decision is taken."""
    connection.execute(
        "INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            example.id,
            example.kind,
            example.decision_id,
            example.direction,
            json.dumps(example.context),
            example.chosen,
            example.rejected,
            None if example.twin_context is None else json.dumps(example.twin_context),
            example.weight,
            example.origin,
            example.author,
            example.state,
            quota,
            now_ms(),
            example.parent,
        ),
    )


def _example(row: sqlite3.Row) -> Example:
    fields = {name: row[name] for name in row.keys() if name in Example.model_fields}  # noqa: SIM118
    fields["context"] = json.loads(row["context"])
    fields["twin_context"] = None if row["twin_context"] is None else json.loads(row["twin_context"])
    return Example(**fields)
