"""Batched greedy answers are the answers one by one."""

import pytest
import torch

from learner.generation import greedy
from learner.model import load_model
from learner.tokens import end_token, prompt_of


@pytest.fixture(scope="module", params=["smollm2_path", "tiny_qwen35_path"])
def loaded(request):
    return load_model(request.getfixturevalue(request.param), torch.float32)


QUESTIONS = [
    "What is the capital of France?",
    "Name three fruits, and say for each of them in one sentence how it tastes and where it grows.",
    "Hi",
]


@torch.no_grad()
def one_by_one(model, ids: list[int], count: int, stop: int) -> list[int]:
    ids, start = list(ids), len(ids)
    for _ in range(count):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == stop:
            break
    return ids[start:]


def test_batch_gives_the_answers_of_single_prompts_in_their_order(loaded):
    model, tokenizer = loaded
    end = end_token(tokenizer)
    prompts = [prompt_of(tokenizer, [{"role": "user", "content": q}], 1024).ids for q in QUESTIONS]
    expected = [one_by_one(model, p, 14, end) for p in prompts]
    for batch_size in (1, 3):
        answers = greedy(model, prompts, 14, {end}, batch_size)
        assert [list(a.ids) for a in answers] == expected
        assert [a.ended for a in answers] == [ids[-1] == end for ids in expected]


def test_log_probabilities_are_those_of_a_full_pass(loaded):
    model, tokenizer = loaded
    prompts = [prompt_of(tokenizer, [{"role": "user", "content": q}], 1024).ids for q in QUESTIONS]
    for prompt, answer in zip(
        prompts, greedy(model, prompts, 6, {end_token(tokenizer)}, 3, True), strict=True
    ):
        ids = torch.tensor([[*prompt, *answer.ids]])
        with torch.no_grad():
            expected = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert answer.log_probs.shape == expected.shape
        torch.testing.assert_close(answer.log_probs.float(), expected, rtol=0, atol=0.02)


def test_a_common_beginning_is_read_once_and_changes_no_answer(loaded):
    model, tokenizer = loaded
    turns = [[{"role": "system", "content": "You tell people where things come from."}] for _ in QUESTIONS]
    talks = [[*turn, {"role": "user", "content": q}] for turn, q in zip(turns, QUESTIONS, strict=True)]
    prompts = [prompt_of(tokenizer, talk, 1024).ids for talk in talks]
    read: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda _module, _args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        together = [list(answer.ids) for answer in greedy(model, prompts, 6, {end_token(tokenizer)}, 3)]
    finally:
        hook.remove()
    assert together == [one_by_one(model, prompt, 6, end_token(tokenizer)) for prompt in prompts]
    longest = max(map(len, prompts))
    if hasattr(model.config, "layer_types") and "linear_attention" in model.config.layer_types:
        assert read[0] == len(prompts) * longest  # recurrent layers would read the padding
    else:
        assert read[1] == len(prompts) * (longest - read[0])
        assert read[0] >= 16


def test_no_prompts_give_no_answers(loaded):
    assert greedy(loaded[0], [], 5, {2}) == []
