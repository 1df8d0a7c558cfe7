"""The published contract (docs/asyncapi.json) is whole: what is really said on the bus is in it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from agent.ingest import Ingest
from agent.verbs.setup import PAYLOADS
from policies import messages
from policies.config import Config
from policies.messages import CommandName, OutboundEvent
from store import commands
from store.database import Store

ROOT = Path(__file__).parent.parent.parent
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/asyncapi.json").read_text())


def made_in_the_code() -> set[str]:
    """Names of the outbound payloads that some line of the product makes."""
    outbound = {name for name, value in vars(messages).items() if isinstance(value, type) and says(value)}
    made = set()
    for package in ("agent", "learner", "store"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    made.add(node.func.id)
    return made & outbound


def says(kind: type) -> bool:
    return issubclass(kind, messages._Outbound) and kind is not messages._Outbound


def schema(channel: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["channels"][channel]["messages"][name]["payload"]
    return found


def test_every_kind_that_is_published_is_in_the_document_and_no_other() -> None:
    channels = DOCUMENT["channels"]
    published = set(channels["events"]["messages"]) | set(channels["status"]["messages"])
    assert made_in_the_code() == published
    assert {kind.__name__ for kind in get_args(OutboundEvent)} == set(channels["events"]["messages"])


def test_every_channel_has_an_operation_that_names_its_messages() -> None:
    assert set(DOCUMENT["channels"]) == set(PAYLOADS)
    assert DOCUMENT["defaultContentType"] == "application/json"
    for channel, described in DOCUMENT["channels"].items():
        (operation,) = [o for o in DOCUMENT["operations"].values() if o["channel"]["$ref"].endswith(channel)]
        named = {reference["$ref"].rpartition("/")[2] for reference in operation["messages"]}
        assert named == set(described["messages"])
        assert operation["action"] == ("send" if channel in ("status", "events") else "receive")


def test_each_event_says_its_kind_and_is_described() -> None:
    kinds = [
        schema("events", name)["properties"]["type"]["const"]
        for name in DOCUMENT["channels"]["events"]["messages"]
    ]
    assert len(kinds) == len(set(kinds)) == len(get_args(OutboundEvent))
    for channel in DOCUMENT["channels"].values():
        assert all(message["payload"]["description"] for message in channel["messages"].values())
    page = (ROOT / "docs/metrics.md").read_text()
    assert all(f"`{kind}`" in page for kind in kinds)


def test_every_command_that_the_product_knows_is_in_it() -> None:
    assert schema("commands", "CommandPayload")["properties"]["command"]["enum"] == list(
        get_args(CommandName)
    )


def test_what_ingest_and_commands_queue_fits_the_document(store: Store) -> None:
    ingest = Ingest(store, Config(), None)
    turns = [
        {"event_id": "1", "role": "system", "content": "Answer in one sentence."},
        {"event_id": "2", "role": "user", "content": "What is rain?"},
        {"event_id": "3", "role": "assistant", "content": "Rain is water. It falls. It is wet."},
    ]
    ingest.turns("a", {"conversation_id": "c", "turns": turns}, "mqtt")
    ingest.command("a", {"event_id": "k", "command": "pause", "args": {}}, "mqtt")
    with store.write() as connection:
        commands.finish(connection, "k", "done", {"paused": True})
    queued = [json.loads(row["payload"]) for row in store.rows("SELECT payload FROM outbox ORDER BY id")]
    assert {event["type"] for event in queued} == {"label", "reply"}
    for event in queued:
        fits(event)


def fits(event: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError for an event of the bus that the document does not describe."""
    described = {
        schema("events", name)["properties"]["type"]["const"]: schema("events", name)
        for name in DOCUMENT["channels"]["events"]["messages"]
    }
    jsonschema.validate(event, described[event["type"]])
    assert event.keys() <= described[event["type"]]["properties"].keys()


def test_an_event_that_is_not_as_described_is_found() -> None:
    with pytest.raises(jsonschema.ValidationError):
        fits({"type": "alert", "ts": "2026-11-29T00:00:00Z"})
