"""Secrets do not reach the store, by whatever way they come."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from agent.inbound import Inbound
from agent.ingest import Ingest
from agent.language import detect_language
from agent.sources.followed import FollowedFile
from policies.config import Config
from policies.messages import CommandPayload
from store import commands
from store.database import Store
from store.offsets import Offset
from store.redaction import Redaction

SECRET = "ghp_" + "a1B2c3D4" * 4 + "e5F6"


def send(ingest: Ingest, channel: str, payload: object) -> None:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    ingest.messages([Inbound("a", channel, raw)], "mqtt")


def test_nowhere_in_the_file_is_the_secret_that_came_by_every_way(store: Store, tmp_path: Path) -> None:
    ingest = Ingest(store, Config(), detect_language)
    call = {"id": "1", "function": {"name": "sh", "arguments": json.dumps({"cmd": f"curl -H {SECRET}"})}}
    turns = [
        {"event_id": "1", "role": "system", "content": f"Answer in JSON. Token {SECRET}."},
        {"event_id": "2", "role": "user", "content": f"My token is {SECRET}"},
        {"event_id": "3", "role": "assistant", "content": f"I call {SECRET}", "tool_calls": [call]},
        {"event_id": "4", "role": "tool", "content": SECRET, "tool_call_id": "1"},
        {"event_id": "5", "role": "assistant", "content": f"Your token is {SECRET}"},
        {"event_id": "6", "role": "user", "content": f"I told you, answer in JSON! {SECRET}"},
    ]
    send(ingest, "turns", {"conversation_id": "c", "turns": turns})
    for turn in ("5", "not-come-yet"):
        said = {"event_id": f"k{turn}", "conversation_id": "c", "turn_event_id": turn, "verdict": "ignored"}
        send(
            ingest, "corrections", {**said, "direction": f"Never say {SECRET}", "corrected": f"{{{SECRET}}}"}
        )
    send(ingest, "turns", {"event_id": "1", "conversation_id": "c", "role": "user", "content": SECRET})
    steer = {"action": "try", "prompts": [f"Who has {SECRET}?"], SECRET: {"deep": [SECRET]}}
    send(ingest, "commands", {"event_id": "o", "command": "steer", "args": steer})
    send(ingest, "commands", {"event_id": "p", "command": f"no {SECRET}", "args": {"a": SECRET}})
    send(ingest, "turns", b'{"broken": "' + SECRET.encode())
    log = tmp_path / "agent.jsonl"
    row = {"event_id": "7", "conversation_id": "d", "role": "user", "content": f"In a log: {SECRET}"}
    log.write_text(json.dumps(row) + "\n" + json.dumps({**row, "event_id": "8", "ts": SECRET}) + "\n")
    piece = FollowedFile(log, Offset(log.stat().st_dev, log.stat().st_ino, str(log))).read(0.0)
    assert piece is not None
    ingest.piece("a", piece)
    dump = "\n".join(store.connection.iterdump())
    assert SECRET not in dump
    assert dump.count("<secret:github_token:") > 10
    assert len(store.rows("SELECT * FROM dead_letters")) >= 3
    json.loads(
        json.loads(store.rows("SELECT tool_calls FROM events WHERE event_id = '3'")[0][0])[0]["arguments"]
    )


def test_a_command_keeps_all_that_is_no_secret(store: Store) -> None:
    ingest = Ingest(store, Config(), None)
    plain = {
        "action": "try",
        "name": "loud-2",
        "scale": 0.5,
        "layer": None,
        "random": True,
        "to": "01JZ7Q3V8N4T5C6D7E8F9G0H1J",
        "expression": "polite - 0.5 * loud",
        "prompts": ["What does commit 4a7d1ed414474e4033ac29ccb8653d9b change?", "Why?"],
    }
    send(ingest, "commands", {"event_id": "o", "command": "steer", "args": plain})
    asked = {**plain, "prompts": [f"Use {SECRET} now.", "Why?"]}
    send(ingest, "commands", {"event_id": "p", "command": "steer", "args": asked})
    first, second = commands.waiting(store)
    assert first.args == plain
    tag = Redaction(store.path.parent).text(SECRET)
    assert second.args == {**plain, "prompts": [f"Use {tag} now.", "Why?"]}


def test_an_argument_that_its_name_makes_a_secret_is_one(tmp_path: Path) -> None:
    named = {"password": "hunter2abc9", "name": "hunter2abc9", "deep": [{"api_key": "a1b2c3d4e5f6a7b8"}]}
    command = CommandPayload(event_id="o", command="steer", args=named)
    found = Redaction(tmp_path).command(command).args
    assert found["name"] == "hunter2abc9"
    assert found["password"].startswith("<secret:")
    assert found["deep"][0]["api_key"].startswith("<secret:")


@given(st.dictionaries(st.sampled_from(["password", "api_key", "name"]), st.text(max_size=60)))
def test_whatever_an_argument_says_it_stays_a_command(args: dict[str, str]) -> None:
    with TemporaryDirectory() as home:
        found = Redaction(Path(home)).command(CommandPayload(event_id="o", command="steer", args=args)).args
    assert found.keys() == args.keys()


def test_the_same_secret_has_one_tag_and_another_home_another(tmp_path: Path) -> None:
    first, again, other = (Redaction(tmp_path / name) for name in ("a", "a", "b"))
    tag = first.text(f"x {SECRET} y")
    assert tag == again.text(f"x {SECRET} y") != other.text(f"x {SECRET} y")
    assert tag.startswith("x <secret:github_token:")
    assert first.text(SECRET[:-1] + "7") != first.text(SECRET)
    key = tmp_path / "a" / "redaction.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_turn_said_again_is_the_same_turn(store: Store) -> None:
    ingest = Ingest(store, Config(), None)
    turn = {"event_id": "1", "conversation_id": "c", "role": "user", "content": f"Use {SECRET}"}
    send(ingest, "turns", turn)
    send(ingest, "turns", turn)
    assert store.rows("SELECT * FROM dead_letters") == []
    (row,) = store.rows("SELECT * FROM events")
    assert "secret:github_token" in row["content"]


def test_text_without_a_secret_is_left_as_it_is(tmp_path: Path) -> None:
    text = "commit 4a7d1ed414474e4033ac29ccb8653d9b, key=value"
    assert Redaction(tmp_path).text(text) is text
