"""The models and the vectors of the benchmark, and what is measured on weights moved by a vector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.vectors.behaviours import (
    BEHAVIOURS,
    Behaviour,
    examples,
    held_out_questions,
    question_turns,
    training_questions,
)
from learner.base_model import model_hash, resolve_model
from learner.general_pool import load_or_make
from learner.generation import greedy
from learner.model import load_model
from learner.probing.material import load_material
from learner.probing.scores import text_nll
from learner.tokens import end_token, prompt_of
from learner.trainer import Trainer
from learner.vectors.blocks import Deltas
from learner.vectors.library import Library
from learner.vectors.training import learned, train
from policies.config import TrainingConfig

TOKENS = 40
_LONGEST = 1024


class Bench:
    """SmolLM2 twice, as it is and as it is moved, and a library of vectors in `home`."""

    def __init__(self, home: Path) -> None:
        torch.set_num_threads(1)
        self.folder = resolve_model("smollm2", lambda *_: None)
        self.library = Library(home, model_hash(self.folder))

    @cached_property
    def base(self) -> PreTrainedModel:
        """The base model, never moved."""
        return load_model(self.folder)[0]

    @cached_property
    def moved(self) -> PreTrainedModel:
        """The model that vectors are added to."""
        return load_model(self.folder)[0]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of both."""
        return load_model(self.folder)[1]

    def make(self, behaviour: Behaviour) -> dict[str, Any]:
        """Train one behaviour by itself from the base and keep its vector."""
        config = TrainingConfig()
        answers = self.answers(self.base, training_questions(), behaviour.direction)
        trainer = Trainer(load_model(self.folder)[0], self.tokenizer, self.base, config, config.seed)
        pool = load_or_make(self.library.model_hash, self.base, self.tokenizer, config.max_replay_tokens)
        done = train(trainer, examples(behaviour, answers), pool, config)
        shapes, changes = learned(trainer)
        made = self.library.add(behaviour.name, shapes, changes, recipe=f"trained: {behaviour.direction}")
        return {"steps": done.steps, "loss": done.loss, "norm": made.summary.norm}

    def measure(
        self, deltas: Deltas | None, scale: float = 1.0, only: Sequence[Behaviour] = BEHAVIOURS
    ) -> dict[str, Any]:
        """Return follow-rates with each direction, leaks without, and NLL of text, of moved weights."""
        self._move(deltas, scale)
        questions = held_out_questions()
        plain = self.answers(self.moved, questions, None)
        told = {b.name: self.answers(self.moved, questions, b.direction) for b in only}
        nll = text_nll(self.moved, self.tokenizer, load_material().drawn(0).texts)
        return {
            "follow": {b.name: _rate(b, told[b.name]) for b in only},
            "leak": {b.name: _rate(b, plain) for b in only},
            "nll": sum(nll.values()) / len(nll),
            "n": len(questions),
        }

    def answers(self, model: PreTrainedModel, questions: Sequence[str], direction: str | None) -> list[str]:
        """Answer questions greedily."""
        prompts = [
            prompt_of(self.tokenizer, list(question_turns(q, direction)), _LONGEST).ids for q in questions
        ]
        found = greedy(model, prompts, TOKENS, [end_token(self.tokenizer)])
        return [self.tokenizer.decode(a.ids, skip_special_tokens=True).strip() for a in found]

    @torch.no_grad()
    def _move(self, deltas: Deltas | None, scale: float) -> None:
        """Put base + scale * vector into the moved model, rounded to bf16 as the server would hold it."""
        base = dict(self.base.named_parameters())
        for name, parameter in self.moved.named_parameters():
            parameter.copy_(base[name])
            if deltas is not None and name in deltas.shapes:
                change = deltas.rows(name, 0, parameter.shape[0])
                whole = parameter.float().add_(change, alpha=scale)
                parameter.copy_(whole.to(torch.bfloat16).to(parameter.dtype))


def _rate(behaviour: Behaviour, answers: Sequence[str]) -> float:
    return sum(map(behaviour.follows, answers)) / len(answers)
