"""The load of the fault benchmark: by which ways it tells, and what its books say is missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.ingest import Ingest
from benchmarks.faults import round
from benchmarks.faults.load import WAYS, Load
from benchmarks.faults.system import System
from policies.config import Config
from store.database import Store

NOBODY = "mqtt://127.0.0.1:1"


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Twelve conversations, told where nobody listens: what went by bus waits on disk."""
    load = Load(lambda: NOBODY, tmp_path / "spool", tmp_path / "agent.jsonl", 0)
    for number in range(12):
        load.say(correct=number % 2 == 0)
    yield load
    load.close()


def published(tmp_path: Path, channel: str) -> list[dict[str, Any]]:
    """Return what waits for the broker."""
    lines = [line for one in (tmp_path / "spool").glob("*.spool") for line in one.read_text().splitlines()]
    return [json.loads(body) for name, _, body in (line.partition("\t") for line in lines) if name == channel]


def logged(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "agent.jsonl").read_text().splitlines()]


def test_a_third_goes_by_bus_alone_a_third_by_log_alone_and_corrections_always_by_bus(
    load: Load, tmp_path: Path
) -> None:
    kinds = Counter((one.way, one.correction is not None) for one in load.said)
    assert kinds == {(way, corrected): 2 for way in WAYS for corrected in (False, True)}
    by_bus = {turn["event_id"]: turn["content"] for turn in published(tmp_path, "turns")}
    by_log = {turn["event_id"]: turn["content"] for turn in logged(tmp_path)}
    told = {way: {turn for one in load.said if one.way == way for turn in one.turns} for way in WAYS}
    assert by_bus.keys() == told["bus"] | told["both"]
    assert by_log.keys() == told["log"] | told["both"]
    assert all(by_bus[turn] == by_log[turn] for turn in told["both"])
    sent = {one["event_id"]: one["turn_event_id"] for one in published(tmp_path, "corrections")}
    assert sent == {one.correction: one.turns[-1] for one in load.said if one.correction is not None}


def test_the_books_name_what_is_not_in_the_store_and_the_way_that_lost_it(
    load: Load, tmp_path: Path, store: Store
) -> None:
    system = System(store.path.parent, tmp_path / "none", None, tmp_path / "agent.jsonl", tmp_path)
    ingest, gone = Ingest(store, Config(), None), [one for one in load.said if one.way == "bus"][1]
    for correction in published(tmp_path, "corrections"):
        ingest.correction("agent", correction, "mqtt")
    for turn in published(tmp_path, "turns"):
        if turn["event_id"] != gone.turns[1]:
            ingest.turns("agent", turn, "mqtt")
    by_log = [f"{turn} by log" for one in load.said if one.way == "log" for turn in one.turns]
    assert round.missing(system, load) == sorted([f"{gone.turns[1]} by bus", *by_log])
    assert round.unrecognised(system, load) == 12, "three turns each of four conversations came once"
    for turn in logged(tmp_path):
        ingest.turns("agent", turn, "log:agent.jsonl")
    assert round.missing(system, load) == [f"{gone.turns[1]} by bus"], "no other way brings it"
    assert round.unrecognised(system, load) == 0
    applied = "SELECT count(*) FROM corrections WHERE state = 'applied'"
    assert system.one(applied) == sum(one.correction is not None for one in load.said)


def test_what_went_by_bus_is_sent_again_word_for_word(load: Load, tmp_path: Path) -> None:
    turns, corrections = published(tmp_path, "turns"), published(tmp_path, "corrections")
    later = load.said[-1].at_ms + 1
    assert load.say_again(later) == 0
    assert load.say_again(load.said[0].at_ms) == 10, "all but two that the log alone has"
    said = [(turn["event_id"], turn["content"]) for turn in published(tmp_path, "turns")]
    assert Counter(said) == {(turn["event_id"], turn["content"]): 2 for turn in turns}
    sent = Counter(json.dumps(one) for one in published(tmp_path, "corrections"))
    assert sent == {json.dumps(one): 2 for one in corrections}
