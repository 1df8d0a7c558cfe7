"""One function a probe: each gives the score of every item on the weights as they are now."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.frozen import frozen_hidden, pad
from learner.generation import Answer, greedy
from learner.probing.health import length_change
from learner.probing.material import Fact
from learner.probing.own import OwnProbe
from learner.tokens import Prompt, Row, build_row, end_token, prompt_of
from policies.example import Example

FACT_TOKENS = 14
KL_TOKENS = 24
LEAK_TOKENS = 6
"""A leak shows in the first tokens: from there on the base's own answer leads every model."""
_LONGEST_PROMPT = 4096
_CHOICE_ROWS = 48
_PADDED = 1.25
"""A passage is not padded to more than so many times its length."""

Follows = Callable[[Example, str], bool | None]
"""Judges an answer to an example's context: followed, ignored, or None where it cannot be checked."""


@dataclass(frozen=True)
class BaseAnswer:
    """The base model's own answer to a plain prompt, with its log-probabilities [T, V] (fp16)."""

    item: str
    row: Row
    log_probs: torch.Tensor
    answer: Answer


@torch.no_grad()
def text_nll(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> dict[str, float]:
    """Return the mean negative log-likelihood (nats a token) of each passage."""
    losses = _text_losses(model, tokenizer, texts)
    return {text[:40]: loss.item() for text, loss in zip(texts, losses, strict=True)}


def mean_nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Return the mean over passages of their negative log-likelihood, nats a token."""
    return fmean(text_nll(model, tokenizer, texts).values())


def text_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> torch.Tensor:
    """Return the mean over passages; a gradient can pass."""
    return torch.stack(_text_losses(model, tokenizer, texts)).mean()


def _text_losses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[torch.Tensor]:
    sequences = [tokenizer(text)["input_ids"] for text in texts]
    losses: dict[int, torch.Tensor] = {}
    for batch in _of_like_length(sequences):
        ids, mask = pad([sequences[index] for index in batch], left=False)
        hidden = model.model(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device)
        ).last_hidden_state
        for index, states in zip(batch, hidden, strict=True):
            labels = torch.tensor(sequences[index][1:], device=model.device)
            losses[index] = F.cross_entropy(model.lm_head(states[: len(labels)]).float(), labels)
    return [losses[index] for index in range(len(texts))]


def _of_like_length(sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group the indices so that no sequence is padded to more than `_PADDED` times its length."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    groups: list[list[int]] = []
    for index in order:
        if not groups or len(sequences[index]) > _PADDED * len(sequences[groups[-1][0]]):
            groups.append([])
        groups[-1].append(index)
    return groups


def fact_matches(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], batch_size: int = 64
) -> dict[str, float]:
    """Return 1 for each fact whose greedy answer contains the expected word, else 0."""
    prompts = [_plain(tokenizer, fact.question).ids for fact in facts]
    answers = greedy(model, prompts, FACT_TOKENS, [end_token(tokenizer)], batch_size)
    return {
        fact.question: float(matches(fact, tokenizer.decode(answer.ids, skip_special_tokens=True)))
        for fact, answer in zip(facts, answers, strict=True)
    }


def matches(fact: Fact, answer: str) -> bool:
    """Tell whether an answer holds one of the expected answers as whole words."""
    return any(re.search(rf"\b{re.escape(word)}\b", answer.lower()) for word in fact.answers)


@torch.no_grad()
def choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    all_facts: Sequence[Fact],
) -> dict[str, float]:
    """Return 1 for each fact whose answer is likelier (a token) than those to three other facts, else 0."""
    rows, owner = [], []
    for fact in facts:
        prompt = _plain(tokenizer, fact.question)
        for answer in (fact.answers[0], *distractors(fact, all_facts)):
            ids = tokenizer(answer.capitalize(), add_special_tokens=False)["input_ids"]
            rows.append(build_row("probe", "general", prompt, ids, None, FACT_TOKENS))
            owner.append(fact.question)
    found: dict[str, list[float]] = {}
    for start in range(0, len(rows), _CHOICE_ROWS):
        batch = rows[start : start + _CHOICE_ROWS]
        hidden = frozen_hidden(model, batch)
        chosen = F.log_softmax(model.lm_head(hidden.states).float(), -1).gather(1, hidden.labels[:, None])[
            :, 0
        ]
        for index in range(len(batch)):
            found.setdefault(owner[start + index], []).append(chosen[hidden.row == index].mean().item())
    return {question: float(values[0] > max(values[1:])) for question, values in found.items()}


def distractors(fact: Fact, facts: Sequence[Fact]) -> list[str]:
    """Return the answers to the three facts that follow in the list, and are none of this one's."""
    place = facts.index(fact)
    others = dict.fromkeys(other.answers[0] for other in (*facts[place + 1 :], *facts[:place]))
    return [answer for answer in others if answer not in fact.answers][:3]


def own_passes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    own: Sequence[OwnProbe],
    max_tokens: int,
    batch: int,
) -> dict[str, float]:
    """Return 1 for each of the user's probes whose greedy answer is as it must be, else 0."""
    prompts = [_plain(tokenizer, probe.prompt, probe.system).ids for probe in own]
    answers = greedy(model, prompts, max_tokens, [end_token(tokenizer)], batch)
    return {
        probe.name: float(probe.passes(tokenizer.decode(answer.ids, skip_special_tokens=True)))
        for probe, answer in zip(own, answers, strict=True)
    }


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
            item,
            build_row("probe", "general", prompt, answer.ids, None, max_tokens),
            answer.log_probs,
            answer,
        )
        for item, prompt, answer in zip(items, prompts, answers, strict=True)
        if answer.log_probs is not None
    ]


@torch.no_grad()
def kl_to_base(model: PreTrainedModel, answers: Sequence[BaseAnswer]) -> dict[str, float]:
    """Return KL(base || now) in nats a token, averaged over the base's own answer to each prompt."""
    losses = kl_losses(model, answers)
    return {answer.item: loss.item() for answer, loss in zip(answers, losses, strict=True)}


@torch.no_grad()
def against_base(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Sequence[BaseAnswer]
) -> dict[str, dict[str, float]]:
    """Return `kl` and `length` along the base's own answer to each prompt, from one pass."""
    now, end = _log_probs(model, answers), end_token(tokenizer)
    kl = zip(answers, _divergences(now, answers), strict=True)
    pairs = zip(answers, now, strict=True)
    return {
        "kl": {answer.item: loss.item() for answer, loss in kl},
        "length": {answer.item: length_change(found, answer.log_probs, end) for answer, found in pairs},
    }


def kl_losses(model: PreTrainedModel, answers: Sequence[BaseAnswer]) -> torch.Tensor:
    """Return KL as `kl_to_base` does, as a tensor [answers]; a gradient can pass."""
    return _divergences(_log_probs(model, answers), answers)


def _log_probs(model: PreTrainedModel, answers: Sequence[BaseAnswer]) -> list[torch.Tensor]:
    """Return the log-probabilities [T, V] along each answer."""
    hidden = frozen_hidden(model, [answer.row for answer in answers])
    now = F.log_softmax(model.lm_head(hidden.states).float(), -1)
    return [now[hidden.row == index] for index in range(len(answers))]


def _divergences(now: Sequence[torch.Tensor], answers: Sequence[BaseAnswer]) -> torch.Tensor:
    before = [answer.log_probs.float() for answer in answers]
    return torch.stack([(p.exp() * (p - q)).sum(-1).mean() for p, q in zip(before, now, strict=True)])


def answers_now(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Sequence[BaseAnswer], batch_size: int
) -> dict[str, tuple[Answer, str]]:
    """Return what the model writes now where the base wrote `answers`, as ids and text."""
    prompts = [(*answer.row.context, *answer.row.lead) for answer in answers]
    found = greedy(model, prompts, KL_TOKENS, [end_token(tokenizer)], batch_size, with_log_probs=True)
    return {
        answer.item: (now, tokenizer.decode(now.ids, skip_special_tokens=True))
        for answer, now in zip(answers, found, strict=True)
    }


def follow(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    follows: Follows,
    max_tokens: int,
    batch_size: int = 32,
) -> dict[str, float]:
    """Return 1 for each learned example whose context the model now answers as directed, else 0.

    Examples whose direction nothing can check are left out.
    """
    prompts = [prompt_of(tokenizer, list(e.context), _LONGEST_PROMPT, e.direction).ids for e in examples]
    answers = greedy(model, prompts, max_tokens, [end_token(tokenizer)], batch_size)
    verdicts = {
        example.id: follows(example, tokenizer.decode(answer.ids, skip_special_tokens=True))
        for example, answer in zip(examples, answers, strict=True)
    }
    return {item: float(verdict) for item, verdict in verdicts.items() if verdict is not None}


def _plain(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None) -> Prompt:
    turns = [] if system is None else [{"role": "system", "content": system}]
    return prompt_of(tokenizer, [*turns, {"role": "user", "content": question}], _LONGEST_PROMPT)
