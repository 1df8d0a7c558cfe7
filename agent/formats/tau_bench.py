"""tau-bench results: runs with their messages in `traj`; tau2-bench's `simulations`; few-shot text.

The few-shot files hold conversations as text, one `role: text` after the other; their calls are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent.formats.base import Parsed, Place, total
from agent.formats.turns import Times, call, digest, make_turn, refuse, text_of, unknown, word

_SPEAKER = re.compile(r"^(system|user|assistant|tool): ?", re.MULTILINE)
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


class TauBench:
    """tau-bench and tau2-bench results."""

    name = "tau-bench"

    def accepts(self, record: Any) -> bool:
        """Look for a run, a list of runs, a set of simulations, or few-shot text."""
        if isinstance(record, list):
            return any(isinstance(run, Mapping) and "traj" in run for run in record[:3])
        if not isinstance(record, Mapping):
            return False
        if isinstance(record.get("messages_display"), str):
            return True
        simulations = record.get("simulations")
        return "traj" in record or (
            isinstance(simulations, list)
            and any(isinstance(s, Mapping) and "messages" in s for s in simulations[:3])
        )

    def reader(self, state: str = "") -> TauBenchReader:
        """Return a reader of one file."""
        return TauBenchReader()


class TauBenchReader:
    """Reads runs."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take one run or a document of them."""
        if isinstance(record, Mapping) and isinstance(record.get("messages_display"), str):
            return _run({}, list(_spoken(record["messages_display"])), place)
        if isinstance(record, Mapping) and isinstance(record.get("simulations"), list):
            record = record["simulations"]
        if not isinstance(record, list):
            return _checked_run(record, place)
        return total(
            _checked_run(run, place.part(f"run {number}", number)) for number, run in enumerate(record)
        )

    def end(self) -> Parsed:
        """Return nothing: no record is held."""
        return Parsed()

    def state(self) -> str:
        """Return nothing: each record stands by itself."""
        return ""


def _checked_run(run: Any, place: Place) -> Parsed:
    messages = run.get("traj", run.get("messages")) if isinstance(run, Mapping) else None
    if not isinstance(messages, list):
        return refuse(place, "traj: a list of messages is needed", run)
    return _run(run, messages, place)


def _run(run: Mapping[str, Any], messages: list[Any], place: Place) -> Parsed:
    conversation = f"tau-{str(run.get('task_id'))[:64]}-{str(run.get('trial'))[:16]}-{digest(messages)}"
    times = Times()
    return total(
        piece
        for number, message in enumerate(messages)
        for piece in _read(message, number, conversation, times, place)
    )


def _read(message: Any, number: int, conversation: str, times: Times, place: Place) -> Iterator[Parsed]:
    at = place.part(f"turns[{number}]", number)
    if not isinstance(message, Mapping):
        yield refuse(at, "a JSON object is needed", message)
    elif isinstance(message.get("tool_messages"), list):
        for part, one in enumerate(message["tool_messages"]):
            if isinstance(one, Mapping):
                yield _message(one, "tool", [number, part], conversation, times, at)
    elif word(message, "role") in _ROLES:
        yield _message(message, message["role"], number, conversation, times, at)
    else:
        yield unknown(at, f"message of role {message.get('role')}", message)


def _message(
    message: Mapping[str, Any], role: Any, key: object, conversation: str, times: Times, place: Place
) -> Parsed:
    if message.get("requestor") == "user" and role == "tool":
        return Parsed(metadata=1)
    ts, odd = times.read(message.get("timestamp"), place)
    call_id = message.get("tool_call_id") or (message.get("id") if role == "tool" else None)
    turn = make_turn(
        place,
        conversation,
        key,
        role,
        text_of(message.get("content")),
        ts=ts,
        calls=list(_calls(message)) if role == "assistant" else None,
        call_id=call_id if isinstance(call_id, str) else None,
    )
    return turn + Parsed(remarks=odd)


def _calls(message: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    calls = message.get("tool_calls")
    for one in calls if isinstance(calls, list) else []:
        if isinstance(one, Mapping):
            body = one.get("function")
            body = body if isinstance(body, Mapping) else one
            yield call(one.get("id"), body.get("name"), body.get("arguments"))
    old = message.get("function_call")
    if isinstance(old, Mapping):
        yield call(None, old.get("name"), old.get("arguments"))


def _spoken(text: str) -> Iterator[dict[str, Any]]:
    """Yield the messages of few-shot text. `None` stands for a call, which is not in the text."""
    marks = list(_SPEAKER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):
        said = text[mark.end() : end].strip()
        if said != "None":
            yield {"role": mark[1], "content": said}
