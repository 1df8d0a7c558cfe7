"""Rows for TRL and OpenAI, checked against what both document, by OpenAI's own types where it has them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from pydantic import TypeAdapter

from policies.choosing import LeftOut
from policies.training_shapes import Judged, Shape, rows_of, tools_of

MESSAGES = TypeAdapter(list[ChatCompletionMessageParam])
TOOLS = TypeAdapter(list[ChatCompletionFunctionToolParam])


def call(name: str = "run", arguments: str = '{"command": "ls", "deep": true}', called: str = "c1") -> Any:
    """A turn that calls a tool."""
    function = {"name": name, "arguments": arguments}
    calls = [{"id": called, "type": "function", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


ASKED = (
    {"role": "developer", "content": "Write lowercase."},
    {"role": "user", "content": "What is here?"},
    call(),
    {"role": "tool", "content": "a.txt", "tool_call_id": "c1"},
)
PAIR = Judged(
    id="t",
    context=ASKED,
    right={"role": "assistant", "content": "one file."},
    wrong={"role": "assistant", "content": "One file."},
)


def only(shape: Shape, judged: Judged = PAIR) -> dict[str, Any]:
    (row,) = rows_of(shape, judged)
    return json.loads(json.dumps(row))


def test_trl_rows_have_the_columns_of_their_trainers_as_conversations() -> None:
    said = {"sft": only("trl-sft"), "completion": only("trl-prompt-completion"), "dpo": only("trl-dpo")}
    assert [set(row) for row in said.values()] == [
        {"messages", "tools"},
        {"prompt", "completion", "tools"},
        {"prompt", "chosen", "rejected", "tools"},
    ]
    assert said["sft"]["messages"] == said["completion"]["prompt"] + said["completion"]["completion"]
    assert said["dpo"]["prompt"] == said["completion"]["prompt"]
    assert said["dpo"]["chosen"] == [{"role": "assistant", "content": "one file."}]
    assert said["dpo"]["rejected"] == [{"role": "assistant", "content": "One file."}]
    assert [m["role"] for m in said["dpo"]["prompt"]] == ["system", "user", "assistant", "tool"]
    (called,) = said["dpo"]["prompt"][2]["tool_calls"]
    assert called["function"]["arguments"] == {"command": "ls", "deep": True}  # a template writes it out


def test_kto_says_of_each_answer_whether_it_is_wanted() -> None:
    right, wrong = rows_of("trl-kto", PAIR)
    assert (right["label"], right["completion"]) == (True, [{"role": "assistant", "content": "one file."}])
    assert (wrong["label"], wrong["completion"]) == (False, [{"role": "assistant", "content": "One file."}])
    assert right["prompt"] == wrong["prompt"]
    assert [row["label"] for row in rows_of("trl-kto", PAIR.model_copy(update={"right": None}))] == [False]


def test_openai_chat_is_what_its_types_take_and_learns_the_answer_alone() -> None:
    row = only("openai-chat")
    TOOLS.validate_python(row["tools"])
    weights = [message.pop("weight", None) for message in row["messages"]]
    MESSAGES.validate_python(row["messages"], extra="forbid")
    assert weights == [None, None, 0, None, None]
    assert row["messages"][-1] == {"role": "assistant", "content": "one file."}
    assert "content" not in row["messages"][2]
    assert row["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"command": "ls", "deep": true}'


def test_openai_preference_is_one_answer_against_another() -> None:
    row = only("openai-preference")
    assert set(row) == {"input", "preferred_output", "non_preferred_output"}
    assert set(row["input"]) == {"messages", "tools"}
    for messages in (row["input"]["messages"], row["preferred_output"], row["non_preferred_output"]):
        MESSAGES.validate_python(messages, extra="forbid")
    assert [m["content"] for m in row["preferred_output"]] == ["one file."]
    assert [m["content"] for m in row["non_preferred_output"]] == ["One file."]


def test_a_tool_is_declared_by_the_arguments_it_was_called_with() -> None:
    (tool,) = tools_of([call(), call(arguments='{"limit": 3, "ratio": 0.5, "names": [], "what": null}')])
    assert tool["function"]["name"] == "run"
    assert {
        name: kind.get("type") for name, kind in tool["function"]["parameters"]["properties"].items()
    } == {
        "command": "string",
        "deep": "boolean",
        "limit": "integer",
        "ratio": "number",
        "names": "array",
        "what": None,
    }


@pytest.mark.parametrize(
    ("shapes", "change", "reason"),
    [
        (("trl-sft", "trl-dpo", "openai-chat", "openai-preference"), {"right": None}, "no right answer"),
        (("trl-dpo", "openai-preference"), {"wrong": None}, "no wrong answer"),
        (get_args(Shape), {"context": ({"role": "system", "content": "Be kind."},)}, "nobody asked"),
        (("openai-chat", "openai-preference"), {"context": ASKED[:3]}, "call without its result"),
        (("openai-chat",), {"context": (*ASKED[:3], *ASKED[1:2])}, "call without its result"),
        (("openai-chat",), {"context": (*ASKED[:2], ASKED[3])}, "result without its call"),
        (("openai-chat", "openai-preference"), {"right": call("fs.read")}, "name that OpenAI"),
        (("trl-sft", "openai-chat"), {"right": call(arguments="{")}, "not JSON"),
        (("trl-kto", "openai-preference"), {"wrong": call(arguments="[1]")}, "no object"),
    ],
)
def test_what_a_shape_cannot_hold_is_left_out_with_the_reason(
    shapes: tuple[Shape, ...], change: dict[str, Any], reason: str
) -> None:
    for shape in shapes:
        with pytest.raises(LeftOut, match=reason):
            rows_of(shape, PAIR.model_copy(update=change))
