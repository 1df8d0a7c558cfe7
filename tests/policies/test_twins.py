from __future__ import annotations

import pytest

from policies.turn import Message
from policies.twins import twin

JSON = 'Reply only with JSON of the form {"answer": "..."}.'
BASE = "You are a helpful assistant. Answer in one or two short sentences."


def chat(system: str, *users: str) -> tuple[Message, ...]:
    return ({"role": "system", "content": system}, *({"role": "user", "content": user} for user in users))


@pytest.mark.parametrize(
    ("context", "direction", "expected"),
    [
        (chat(f"{BASE} {JSON}", "Why?"), JSON, chat(BASE, "Why?")),
        (chat(f"{JSON} {BASE}", "Why?"), JSON, chat(BASE, "Why?")),
        (chat(BASE, f"Why? {JSON}"), JSON, chat(BASE, "Why?")),
        (chat(BASE, f"Why? {JSON}"), JSON.lower().rstrip("."), chat(BASE, "Why?")),
        # another wording of the same demand goes too, another key stays
        (chat(f"{BASE} {JSON}", 'Why? Answer as a JSON object with the single key "answer".'), JSON,
         chat(BASE, "Why?")),
        (chat(f"{BASE} {JSON}", 'Why? Answer as a JSON object with the single key "b".'), JSON,
         chat(BASE, 'Why? Answer as a JSON object with the single key "b".')),
        # a system turn that is nothing but the direction is dropped
        (chat("Be brief.", "Why?"), "Be brief.", chat("", "Why?")[1:]),
        (chat(BASE, "Why?"), JSON, None),
        (chat(BASE, JSON), JSON, None),
        (chat(BASE, "Why?"), "", None),
        (chat("Be brief."), "Be brief.", None),
        (chat(f"{BASE}\n\nRules:\n- Be kind.\n- Be brief.\n- Be true.", "Why?"), "Be brief.",
         chat(f"{BASE}\n\nRules:\n- Be kind.\n- Be true.", "Why?")),
        (chat(BASE, 'Answer with exactly 3 bullet points. Start each with "- ". Why?'),
         'Answer with exactly 3 bullet points. Start each with "- ".', chat(BASE, "Why?")),
    ],
)  # fmt: skip
def test_twin(context: tuple[Message, ...], direction: str, expected: tuple[Message, ...] | None) -> None:
    assert twin(context, direction) == expected


def test_answers_and_tool_results_are_left_as_they_are() -> None:
    context = (
        *chat(BASE, f"Why? {JSON}"),
        {"role": "assistant", "content": JSON, "tool_calls": []},
        {"role": "tool", "content": JSON, "tool_call_id": "x"},
        {"role": "user", "content": "And?"},
    )
    made = twin(context, JSON)
    assert made is not None
    assert made[2:] == context[2:]
    assert context[1]["content"] == f"Why? {JSON}"
