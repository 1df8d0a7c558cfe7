"""One function a probe: each gives the score of every item on the weights as they are now."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.frozen import frozen_hidden, pad
from learner.generation import greedy
from learner.probing.material import Fact
from learner.tokens import Prompt, Row, build_row, end_token, prompt_of
from policies.example import Example

FACT_TOKENS = 14
KL_TOKENS = 24
LEAK_TOKENS = 6
"""A leak shows in the first tokens: from there on the base's own answer leads every model."""
_LONGEST_PROMPT = 4096

Follows = Callable[[Example, str], bool | None]
"""Judges an answer to an example's context: followed, ignored, or None where it cannot be checked."""


@dataclass(frozen=True)
class BaseAnswer:
    """The base model's own answer to a plain prompt, with its log-probabilities [T, V] (fp16)."""

    item: str
    row: Row
    log_probs: torch.Tensor


@torch.no_grad()
def text_nll(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> dict[str, float]:
    """Return the mean negative log-likelihood (nats a token) of each passage."""
    sequences = [tokenizer(text)["input_ids"] for text in texts]
    ids, mask = pad(sequences, left=False)
    hidden = model.model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device)
    ).last_hidden_state
    scores = {}
    for index, sequence in enumerate(sequences):
        logits = model.lm_head(hidden[index, : len(sequence) - 1]).float()
        labels = torch.tensor(sequence[1:], device=model.device)
        scores[f"text {index + 1}: {texts[index][:24]}"] = F.cross_entropy(logits, labels).item()
    return scores


def fact_matches(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact]
) -> dict[str, float]:
    """Return 1 for each fact whose greedy answer contains the expected word, else 0."""
    prompts = [_plain(tokenizer, fact.question).ids for fact in facts]
    answers = greedy(model, prompts, FACT_TOKENS, [end_token(tokenizer)], batch_size=64)
    return {
        fact.question: float(matches(fact, tokenizer.decode(answer.ids, skip_special_tokens=True)))
        for fact, answer in zip(facts, answers, strict=True)
    }


def matches(fact: Fact, answer: str) -> bool:
    """Tell whether an answer holds one of the expected answers as whole words."""
    return any(re.search(rf"\b{re.escape(word)}\b", answer.lower()) for word in fact.answers)


def base_answers(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    max_tokens: int,
    system: str | None = None,
) -> list[BaseAnswer]:
    """Let the base model answer plain questions, under a system turn or none: what KL is measured on."""
    prompts = [_plain(tokenizer, question, system) for question in questions]
    answers = greedy(base, [p.ids for p in prompts], max_tokens, [end_token(tokenizer)], with_log_probs=True)
    items = questions if system is None else [f"{question} ({system[:40]})" for question in questions]
    return [
        BaseAnswer(
            item, build_row("probe", "general", prompt, answer.ids, None, max_tokens), answer.log_probs
        )
        for item, prompt, answer in zip(items, prompts, answers, strict=True)
        if answer.log_probs is not None
    ]


@torch.no_grad()
def kl_to_base(model: PreTrainedModel, answers: Sequence[BaseAnswer]) -> dict[str, float]:
    """Return KL(base || now) in nats a token, averaged over the base's own answer to each prompt."""
    hidden = frozen_hidden(model, [answer.row for answer in answers])
    now = F.log_softmax(model.lm_head(hidden.states).float(), -1)
    scores = {}
    for index, answer in enumerate(answers):
        before = answer.log_probs.float()
        difference = before - now[hidden.row == index]
        scores[answer.item] = (before.exp() * difference).sum(-1).mean().item()
    return scores


def follow(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    follows: Follows,
    max_tokens: int,
) -> dict[str, float]:
    """Return 1 for each learned example whose context the model now answers as directed, else 0.

    Examples whose direction nothing can check are left out.
    """
    prompts = [prompt_of(tokenizer, list(e.context), _LONGEST_PROMPT, e.direction).ids for e in examples]
    answers = greedy(model, prompts, max_tokens, [end_token(tokenizer)])
    verdicts = {
        example.id: follows(example, tokenizer.decode(answer.ids, skip_special_tokens=True))
        for example, answer in zip(examples, answers, strict=True)
    }
    return {item: float(verdict) for item, verdict in verdicts.items() if verdict is not None}


def _plain(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None) -> Prompt:
    turns = [] if system is None else [{"role": "system", "content": system}]
    return prompt_of(tokenizer, [*turns, {"role": "user", "content": question}], _LONGEST_PROMPT)
