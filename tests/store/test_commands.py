from __future__ import annotations

import json

import pytest

from policies.messages import CommandPayload
from store import commands, counters, outbox
from store.commands import Progress
from store.database import Store


def test_command_is_carried_out_once_and_answered(store: Store) -> None:
    order = CommandPayload(event_id="k1", command="rollback", args={"version": "v1"})
    with store.write() as connection:
        assert commands.insert(connection, "a", order)
        assert not commands.insert(connection, "a", order)
    assert commands.waiting(store) == [order]
    assert commands.outcome(store, "k1") is None
    with store.write() as connection:
        commands.finish(connection, "k1", "refused", {"reason": "no such version"})
    assert commands.waiting(store) == []
    assert commands.outcome(store, "k1") == ("refused", {"reason": "no such version"})
    reply = json.loads(outbox.unsent(store)[0].payload)
    assert (reply["type"], reply["reply_to"], reply["ok"]) == ("reply", "k1", False)
    assert reply["result"] == {"reason": "no such version"}
    assert counters.read(store) == {"commands": 1, "commands_duplicate": 1}


def test_an_applied_command_never_waits_again_but_is_answered_later(store: Store) -> None:
    order = CommandPayload(event_id="k1", command="rollback")
    with store.write() as connection:
        commands.insert(connection, "a", order)
        commands.keep(connection, "k1", Progress(tries=2, reason="no space left", parts=({"vector": "one"},)))
    assert commands.progress(store, "k1") == Progress(
        tries=2, reason="no space left", parts=({"vector": "one"},)
    )
    assert commands.waiting(store) == [order]
    with store.write() as connection:
        commands.apply(connection, "k1", {"version": "v2"})
        commands.keep(connection, "k1", Progress(tries=9))
    assert (commands.waiting(store), commands.outcome(store, "k1")) == ([], None)
    assert commands.applied(store) == [("k1", {"version": "v2"})]
    with store.write() as connection:
        commands.finish(connection, "k1", "done", {"version": "v2"})
    assert commands.applied(store) == []
    assert commands.outcome(store, "k1") == ("done", {"version": "v2"})


def test_unknown_command_id_is_an_error(store: Store) -> None:
    with pytest.raises(KeyError):
        commands.outcome(store, "nothing")
