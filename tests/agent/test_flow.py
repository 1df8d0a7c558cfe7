"""Messages over a limit: told apart, counted, kept."""

from __future__ import annotations

from agent.flow import Flow
from agent.inbound import Inbound
from agent.ingest import Ingest
from policies.config import Config, LimitConfig
from store import counters
from store.database import Store

LIMITS = LimitConfig(message_bytes=1_024, messages_per_minute=2)


def message(agent: str, payload: bytes = b"{}") -> Inbound:
    return Inbound(agent, "turns", payload)


def test_a_message_over_its_size_is_refused_and_the_others_go_on() -> None:
    good, over = Flow(LIMITS).split([message("a"), message("a", b" " * 1_025), message("a")], 0)
    assert (len(good), [one.counter for one in over]) == (2, ["messages_over_size"])
    assert "limits.message_bytes" in over[0].reason


def test_one_agents_flood_costs_another_nothing() -> None:
    flow = Flow(LIMITS)
    good, over = flow.split([message("loud")] * 5 + [message("calm")], 0)
    assert [one.agent for one in good] == ["loud", "loud", "calm"]
    assert {one.counter for one in over} == {"messages_over_rate"}
    good, over = flow.split([message("loud")], 30_001)
    assert (len(good), over) == (1, [])


def test_what_is_over_is_counted_and_kept_whole(store: Store) -> None:
    _, over = Flow(LIMITS).split([message("a", b'{"content": "' + b"x" * 2_000 + b'"}')], 0)
    Ingest(store, Config(), None).refuse(over, "mqtt")
    (letter,) = store.rows("SELECT * FROM dead_letters")
    assert letter["payload"].encode() == over[0].message.payload
    assert counters.read(store)["messages_over_size"] == counters.read(store)["dead_letters"] == 1
