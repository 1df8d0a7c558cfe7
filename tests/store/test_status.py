"""What `status` says of what waits."""

from __future__ import annotations

from policies.example import Example
from store import examples, status
from store.database import Store


def correction() -> Example:
    return Example(
        id="e1",
        kind="correction",
        direction="Answer in JSON.",
        context=({"role": "user", "content": "Why? Answer in JSON."},),
        chosen="{}",
        rejected="So.",
        origin="correction",
    )


def test_corrections_that_have_no_general_replay_beside_them_are_said_to_wait_for_it(store: Store) -> None:
    with store.write() as connection:
        examples.upsert_correction_example(connection, correction(), 4)
    assert status.queues(store)["examples_waiting_for_replay"] == 1
    with store.write() as connection:
        asked = ({"role": "user", "content": "Why?"},)
        general = Example(id="g1", kind="general", context=asked, chosen="It is.", origin="base")
        examples.add_general_example(connection, general)
    waiting = status.queues(store)
    assert (waiting["examples_waiting_for_replay"], waiting["examples_ready"]) == (0, 1)
