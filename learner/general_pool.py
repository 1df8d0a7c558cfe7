"""The general replay pool: plain prompts, answered by the base model itself, made once a model and cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.base_model import embedded_folder
from learner.generation import greedy
from learner.tokens import end_token, prompt_of
from policies.example import Example
from policies.turn import Message

_SYSTEMS = (
    None,  # every third prompt of the file asks for a fact, as the probes do
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer in one or two short sentences.",
)
_LONGEST_PROMPT = 1024


def load_or_make(
    model_hash: str,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
) -> list[Example]:
    """Return the pool of this model; the base model answers the prompts when it is not in the cache."""
    prompts = files("learner").joinpath("replay_prompts.txt").read_text().splitlines()
    contexts = [_context(prompt, index) for index, prompt in enumerate(prompts)]
    kind = json.dumps([model_hash, max_tokens, contexts])
    name = hashlib.blake2b(kind.encode(), digest_size=8).hexdigest()
    path = embedded_folder().parent.parent / "pools" / f"{name}.json"
    answers = _cached(path, len(contexts))
    if answers is None:
        answers = _answer(base, tokenizer, contexts, max_tokens)
        _write(path, answers)
    return [
        Example(
            id=f"base-{name}-{index}",
            kind="general",
            context=tuple(context),
            chosen=answer,
            origin="base",
        )
        for index, (context, answer) in enumerate(zip(contexts, answers, strict=True))
        if answer.strip()
    ]


def _context(prompt: str, index: int) -> list[Message]:
    system = _SYSTEMS[index % len(_SYSTEMS)]
    user = {"role": "user", "content": prompt}
    return [user] if system is None else [{"role": "system", "content": system}, user]


def _answer(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[list[Message]],
    max_tokens: int,
) -> list[str]:
    prompts = [prompt_of(tokenizer, context, _LONGEST_PROMPT).ids for context in contexts]
    answers = greedy(base, prompts, max_tokens, [end_token(tokenizer)])
    return [tokenizer.decode(answer.ids, skip_special_tokens=True) for answer in answers]


def _cached(path: Path, count: int) -> list[str] | None:
    if not path.exists():
        return None
    try:
        answers = json.loads(path.read_text())
    except ValueError:
        return None
    return answers if isinstance(answers, list) and len(answers) == count else None


def _write(path: Path, answers: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(answers))
    partial.replace(path)
