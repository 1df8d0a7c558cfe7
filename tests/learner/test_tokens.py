"""Prompts, the split before the assistant header, deviations, and windows."""

import pytest
from transformers import AutoTokenizer

from learner.tokens import Prompt, answer_ids, build_row, decisions_of, deviation, end_token, prompt_of
from policies.errors import InputError

SYSTEM = {"role": "system", "content": "Be kind."}
ASK = {"role": "user", "content": "What is rain?"}
PROMPT = Prompt((1, 2, 3), (8, 9))
LLAMA = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BARE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer(smollm2_path):
    return AutoTokenizer.from_pretrained(smollm2_path)


@pytest.fixture
def with_template(smollm2_path):
    def make(template: str):
        tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
        tokenizer.chat_template = template
        return tokenizer

    return make


def test_prompt_is_split_before_the_assistant_header(tokenizer):
    prompt = prompt_of(tokenizer, [SYSTEM, ASK], 100)
    assert tokenizer.decode(prompt.header) == "<|im_start|>assistant\n"
    assert tokenizer.decode(prompt.ids) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nWhat is rain?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_header_is_found_in_any_template(with_template):
    tokenizer = with_template(LLAMA)
    prompt = prompt_of(tokenizer, [ASK], 100)
    assert tokenizer.decode(prompt.ids) == "<|user|>What is rain?<|end|><|assistant|>"
    assert tokenizer.decode(prompt.context).startswith("<|user|>What is rain?<|end")
    assert tokenizer.decode(prompt.header).endswith("<|assistant|>")
    assert "end" not in tokenizer.decode(prompt.header)


def test_template_without_a_header_leaves_the_last_token_as_lead(with_template):
    tokenizer = with_template(BARE)
    prompt = prompt_of(tokenizer, [ASK], 100)
    assert len(prompt.header) == 1
    assert tokenizer.decode(prompt.ids) == "user: What is rain?\n"


def test_end_token_comes_from_the_template_or_the_tokenizer(tokenizer, with_template):
    assert tokenizer.decode(end_token(tokenizer)) == "<|im_end|>"
    assert end_token(with_template(BARE)) == tokenizer.eos_token_id
    assert answer_ids(tokenizer, "Yes.")[-1] == end_token(tokenizer)
    assert tokenizer.decode(answer_ids(tokenizer, "Yes.")[:-1]) == "Yes."


def test_long_context_loses_its_oldest_turns_but_no_system_turn_and_no_direction(tokenizer):
    turns = [SYSTEM, {"role": "user", "content": "Use no capitals. Hello!"}]
    for i in range(20):
        turns += [
            {"role": "assistant", "content": f"Answer {i}."},
            {"role": "user", "content": f"Question {i}?"},
        ]
    prompt = prompt_of(tokenizer, turns, 80, keep="Use no capitals.")
    text = tokenizer.decode(prompt.ids)
    assert len(prompt.ids) <= 80
    assert "Be kind." in text
    assert "Use no capitals." in text
    assert "Question 19?" in text
    assert "Answer 18." in text
    assert "Question 0?" not in text


def test_context_that_cannot_be_shortened_is_refused(tokenizer):
    with pytest.raises(InputError, match="max_context_tokens"):
        prompt_of(tokenizer, [{"role": "user", "content": "word " * 200}], 100)


@pytest.mark.parametrize(
    ("answer", "other", "marks", "first"),
    [
        ([1, 2, 3], [1, 2, 3], "...", None),
        ([7, 1, 2, 8], [1, 2], "x..x", 0),
        ([1, 5, 2], [1, 6, 2], ".x.", 1),
        ([1, 2], [1, 2, 3], "..", None),
        ([1, 2, 3], [1, 2], "..x", None),
        ([1, 2, 1], [2, 1], "x..", 0),
        ([2, 1], [1, 2, 1], "x.", 0),
    ],
)
def test_deviation(answer, other, marks, first):
    assert deviation(answer, other) == ([mark == "x" for mark in marks], first)


def test_row_begins_with_the_header_and_the_whole_answer():
    row = build_row("e", "correction", PROMPT, [5, 6, 7], [5, 4, 7], 10, weight=2.0)
    assert (row.context, row.lead, row.answer) == ((1, 2, 3), (8, 9), (5, 6, 7))
    assert (row.first, row.against, row.deviates, row.weight) == (1, 4, (False, True, False), 2.0)


def test_long_answer_is_cut_at_its_end():
    row = build_row("e", "general", PROMPT, range(100, 120), None, 8)
    assert row.answer == tuple(range(100, 108))
    assert row.lead == (8, 9)
    assert (row.first, row.against) == (None, None)


@pytest.mark.parametrize("first", [7, 8, 14, 19])
def test_window_moves_to_a_late_deviation(first):
    answer, other = list(range(100, 120)), list(range(100, 120))
    other[first] = 55
    row = build_row("e", "twin", PROMPT, answer, other, 8)
    assert len(row.answer) == 8
    assert row.first is not None
    assert (row.answer[row.first], row.against) == (100 + first, 55)
    assert row.deviates[row.first]
    assert (*row.context, *row.lead, *row.answer) == (1, 2, 3, 8, 9, *answer[: row.answer[-1] - 99])
    assert len(row.lead) == (2 if first < 8 else 1)


def test_empty_answer_is_refused():
    with pytest.raises(InputError, match="e: the answer is empty"):
        build_row("e", "general", PROMPT, [], None, 8)


TOOLS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}({{ c.function.arguments }})</call>"
    "{% endfor %}"
    "<|im_end|>{% endgeneration %}\n"
    "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
TALK = [
    SYSTEM,
    ASK,
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "grey", "tool_call_id": "1"},
    {"role": "assistant", "content": "Water."},
]


@pytest.mark.parametrize("marks", [True, False])
def test_decisions_are_the_assistant_turns_with_their_tool_calls(with_template, marks):
    bare = TOOLS.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    tokenizer = with_template(TOOLS if marks else bare)
    (first, call), (second, answer) = decisions_of(tokenizer, TALK, 500)
    assert tokenizer.decode(call) == 'I look.<call>look({"at": "sky"})</call><|im_end|>'
    assert tokenizer.decode(answer) == "Water.<|im_end|>"
    assert tokenizer.decode(first.header) == tokenizer.decode(second.header) == "<|im_start|>assistant\n"
    assert first.context == second.context[: len(first.context)]
    assert '<call>look({"at": "sky"})</call>' in tokenizer.decode(second.context)


def test_decisions_of_the_tokenizers_own_template(tokenizer):
    talk = [
        SYSTEM,
        ASK,
        {"role": "assistant", "content": "Water."},
        ASK,
        {"role": "assistant", "content": "Wet."},
    ]
    decisions = decisions_of(tokenizer, talk, 500)
    assert [tokenizer.decode(answer) for _, answer in decisions] == ["Water.<|im_end|>", "Wet.<|im_end|>"]


def test_turn_that_cannot_be_told_from_its_prompt_is_refused(with_template):
    """A header that is rendered for an open prompt only, as some templates do with a closed thought."""
    tokenizer = with_template(LLAMA.replace("<|assistant|>{% endif %}", "<|assistant|><no_think>{% endif %}"))
    with pytest.raises(InputError, match="chat template"):
        decisions_of(tokenizer, [ASK, {"role": "assistant", "content": "Water."}], 500)
