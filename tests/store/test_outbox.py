from __future__ import annotations

import json

from policies.messages import AlertEvent, CommandPayload, LabelEvent
from policies.turn import Turn
from store import commands, events, outbox
from store.database import Store

TURN = Turn(event_id="e2", conversation_id="c", role="assistant", content="hi", ts=1)


def test_events_wait_in_order_until_marked(store: Store) -> None:
    with store.write() as connection:
        for text in ("one", "two", "three"):
            outbox.put(connection, AlertEvent(ts="t", message=text))
    first, second = outbox.unsent(store, limit=2)
    assert [json.loads(e.payload)["message"] for e in (first, second)] == ["one", "two"]
    with store.write() as connection:
        outbox.mark_sent(connection, [first.id])
    assert [json.loads(e.payload)["message"] for e in outbox.unsent(store)] == ["two", "three"]


def test_event_goes_to_the_agent_that_it_concerns(store: Store) -> None:
    with store.write() as connection:
        events.insert(connection, "reader", [TURN], "mqtt")
        connection.execute("INSERT INTO decisions VALUES ('e2#0', 'c', 'e2', 0, 1)")
        commands.insert(connection, "boss", CommandPayload(event_id="k", command="pause"))
        commands.finish(connection, "k", "done")
        outbox.put(
            connection,
            LabelEvent(ts="t", decision_id="e2#0", verdict="ignored", confidence=1, labeller="correction"),
        )
        outbox.put(connection, AlertEvent(ts="t", message="of the server"))
    assert [event.agent for event in outbox.unsent(store)] == ["boss", "reader", None]


def test_sent_events_are_dropped_beyond_a_bound_and_unsent_ones_never(store: Store) -> None:
    with store.write() as connection:
        for number in range(20):
            outbox.put(connection, AlertEvent(ts="t", message=str(number)))
        outbox.mark_sent(connection, [event.id for event in outbox.unsent(store)][2:])
        outbox.prune(connection, kept=5)
    left = [json.loads(row[0])["message"] for row in store.rows("SELECT payload FROM outbox ORDER BY id")]
    assert left == ["0", "1", "15", "16", "17", "18", "19"]
