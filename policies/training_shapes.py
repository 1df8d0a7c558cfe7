"""Rows for other trainers, made of judged answers: the shapes of TRL and of OpenAI's fine-tuning.

TRL: https://huggingface.co/docs/trl/dataset_formats (conversational; a column `tools` where tools were
called, as JSON text, which its trainers decode). OpenAI: the per-line schemas `FineTuneChatRequestInput` and
`FineTunePreferenceRequestInput` of its API. No log tells how a tool was declared: `tools_of` reads off the
calls what a declaration needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from policies.choosing import LeftOut
from policies.turn import Message

Shape = Literal["trl-sft", "trl-prompt-completion", "trl-dpo", "trl-kto", "openai-chat", "openai-preference"]
Row = dict[str, Any]

_OPENAI_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


class Judged(BaseModel):
    """One answer of the agent as a trainer may use it: what to do in a context, what not to do, or both."""

    model_config = ConfigDict(frozen=True)

    id: str
    context: tuple[Message, ...]
    right: Message | None = None
    wrong: Message | None = None


def rows_of(shape: Shape, judged: Judged) -> list[Row]:
    """Return the rows that one answer makes. Raises LeftOut where it makes none."""
    return _SHAPES[shape](judged)


def tools_of(messages: Iterable[Message]) -> list[Row]:
    """Return a declaration of each function that messages call: its arguments, of the types they had."""
    seen: dict[str, dict[str, Row]] = {}
    for call in (call for message in messages for call in message.get("tool_calls", ())):
        arguments = seen.setdefault(call["function"]["name"], {})
        for name, value in _arguments(call).items():
            arguments[name] = {"type": _TYPES[type(value)]} if type(value) in _TYPES else {}
    return [_declaration(name, {"type": "object", "properties": found}) for name, found in seen.items()]


def _declaration(name: str, parameters: Row) -> Row:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def _sft(judged: Judged) -> list[Row]:
    return [_trl(judged, messages=(*judged.context, _right(judged)))]


def _prompt_completion(judged: Judged) -> list[Row]:
    return [_trl(judged, prompt=judged.context, completion=(_right(judged),))]


def _dpo(judged: Judged) -> list[Row]:
    return [_trl(judged, prompt=judged.context, chosen=(_right(judged),), rejected=(_wrong(judged),))]


def _kto(judged: Judged) -> list[Row]:
    verdicts = ((judged.right, True), (judged.wrong, False))
    return [
        _trl(judged, prompt=judged.context, completion=(answer,)) | {"label": label}
        for answer, label in verdicts
        if answer is not None
    ]


def _trl(judged: Judged, **columns: Sequence[Message]) -> Row:
    """Return columns of messages for TRL: arguments of calls are objects, as chat templates want them."""
    _require_asked(judged)
    tools = tools_of(message for messages in columns.values() for message in messages)
    row: Row = {name: [_trl_message(m) for m in messages] for name, messages in columns.items()}
    return row | ({"tools": json.dumps(tools, ensure_ascii=False)} if tools else {})


def _trl_message(message: Message) -> Message:
    plain = _plain(message)
    if "tool_calls" in message:
        plain["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _arguments(call)}}
            for call in message["tool_calls"]
        ]
    return plain


def _openai_chat(judged: Judged) -> list[Row]:
    """Only the answer is learned: the weight of what the assistant said earlier is 0."""
    right = _right(judged)
    messages = [_openai_message(message) for message in _answered(judged.context)]
    earlier = [m | {"weight": 0} if m["role"] == "assistant" else m for m in messages]
    row: Row = {"messages": [*earlier, _openai_message(right)]}
    return [row | _openai_tools((*judged.context, right))]


def _openai_preference(judged: Judged) -> list[Row]:
    right, wrong = _right(judged), _wrong(judged)
    asked: Row = {"messages": [_openai_message(message) for message in _answered(judged.context)]}
    row = {
        "input": asked | _openai_tools((*judged.context, right, wrong)),
        "preferred_output": [_openai_message(right)],
        "non_preferred_output": [_openai_message(wrong)],
    }
    _require_asked(judged)
    return [row]


def _openai_tools(messages: Iterable[Message]) -> Row:
    tools = tools_of(messages)
    if not all(_OPENAI_NAME.fullmatch(tool["function"]["name"]) for tool in tools):
        raise LeftOut("calls a tool by a name that OpenAI does not take")
    return {"tools": tools} if tools else {}


def _openai_message(message: Message) -> Message:
    plain = _plain(message)
    if "tool_calls" in message:
        for call in message["tool_calls"]:
            _arguments(call)
        plain["tool_calls"] = message["tool_calls"]
        if not plain["content"]:
            del plain["content"]
    return plain


def _plain(message: Message) -> Message:
    """Return a message without its calls; `developer` is what both call `system`."""
    role = "system" if message["role"] == "developer" else message["role"]
    rest = {"tool_call_id": message["tool_call_id"]} if "tool_call_id" in message else {}
    return {"role": role, "content": message["content"], **rest}


def _answered(context: Sequence[Message]) -> Sequence[Message]:
    """Return a context in which each call has its result behind it, as OpenAI demands; LeftOut where not."""
    open_calls: set[str] = set()
    for message in context:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise LeftOut("has a tool's result without its call before it")
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            break
        open_calls |= {call["id"] for call in message.get("tool_calls", ())}
    if open_calls:
        raise LeftOut("has a tool call without its result before it")
    return context


def _arguments(call: Row) -> Row:
    try:
        arguments = json.loads(call["function"]["arguments"] or "{}")
    except ValueError:
        raise LeftOut("calls a tool with arguments that are not JSON") from None
    if not isinstance(arguments, dict):
        raise LeftOut("calls a tool with arguments that are no object")
    return arguments


def _right(judged: Judged) -> Message:
    _require_asked(judged)
    if judged.right is None:
        raise LeftOut("no right answer is known")
    return judged.right


def _wrong(judged: Judged) -> Message:
    if judged.wrong is None:
        raise LeftOut("no wrong answer to the same is known")
    return judged.wrong


def _require_asked(judged: Judged) -> None:
    if not any(message["role"] == "user" for message in judged.context):
        raise LeftOut("nobody asked anything before it")


_SHAPES: dict[Shape, Callable[[Judged], list[Row]]] = {
    "trl-sft": _sft,
    "trl-prompt-completion": _prompt_completion,
    "trl-dpo": _dpo,
    "trl-kto": _kto,
    "openai-chat": _openai_chat,
    "openai-preference": _openai_preference,
}
