"""Answers and the turns they became: which weights produced a turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policies.answers import answer_digest
from policies.turn import ToolCall, Turn
from store import answers, events, history
from store.answers import Answer, parse_answer
from store.database import Store


def answer(step: int, *texts: str, at: int = 1_000, **fields: Any) -> Answer:
    told = {"id": f"chatcmpl-{step}", "path": "/v1/chat/completions", "status": 200, "outcome": "finished"}
    told |= {"digests": [answer_digest(text) for text in texts]}
    told |= {"started": ("v1", step, at - 10), "ended": ("v1", step + 1, at)} | fields
    return Answer.model_validate(told)


def turn(event_id: str, content: str, ts: int = 1_000, **fields: Any) -> Turn:
    return Turn(event_id=event_id, conversation_id="c", role="assistant", content=content, ts=ts, **fields)


def keep(store: Store, turns: list[Turn], given: list[Answer]) -> None:
    with store.write() as connection:
        events.insert(connection, "a", turns, "cli")
        answers.insert(connection, given)


def test_a_turn_is_found_by_the_id_of_its_response(store: Store) -> None:
    keep(store, [turn("chatcmpl-5", "said otherwise")], [answer(5, "this"), answer(6, "said otherwise")])
    weights = history.show(store, "chatcmpl-5")["weights"]
    assert (weights["found_by"], weights["started_step"], weights["ended_step"]) == ("response id", 5, 6)


def test_else_by_its_text_and_the_nearest_time(store: Store) -> None:
    given = [answer(step, "Yes.", at=at) for step, at in ((1, 1_000), (2, 50_000), (3, 90_000))]
    given.append(answer(4, "Yes.", at=50_000 + 2 * answers.APART_MS))
    keep(store, [turn("t", "Yes.\n", ts=52_000), turn("other", "No.")], given)
    weights = history.show(store, "t")["weights"]
    assert (weights["found_by"], weights["started_step"], weights["candidates"]) == ("text and time", 2, 3)
    assert history.show(store, "other")["weights"] == {"found_by": None}


def test_a_second_choice_and_a_tool_call_are_found_and_a_user_turn_has_no_weights(store: Store) -> None:
    call = ToolCall(id="k", name="look", arguments='{"a": 1}')
    given = [answer(1, "one", "two"), answer(2, digests=[answer_digest("", [("look", '{"a":1}')])])]
    user = Turn(event_id="u", conversation_id="c", role="user", content="two", ts=1)
    keep(store, [turn("t", "two"), turn("called", "", tool_calls=(call,)), turn("nothing", ""), user], given)
    assert history.show(store, "t")["weights"]["choice"] == 1
    assert history.show(store, "called")["weights"]["started_step"] == 2
    assert history.show(store, "nothing")["weights"] == {"found_by": None}
    assert "weights" not in history.show(store, "u")


def test_answers_without_text_are_kept_each_in_one_row(store: Store) -> None:
    keep(store, [], [answer(1, outcome="abandoned", status=None), answer(2, outcome="failed", id=None)])
    rows = store.rows("SELECT outcome, digest FROM answers ORDER BY seq")
    assert [tuple(row) for row in rows] == [("abandoned", None), ("failed", None)]


@pytest.mark.parametrize("line", [b"", b"{}", b"\xff", b'{"id": 1}'])
def test_what_is_no_answer_is_none(line: bytes) -> None:
    assert parse_answer(line) is None
    good = answer(1, "x")
    assert parse_answer(json.dumps(good.model_dump()).encode()) == good
