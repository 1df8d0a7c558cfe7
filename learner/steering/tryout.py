"""Steering vectors tried out on the Hugging Face model: answers to a few prompts, and what they cost.

Vectors are tried side by side in one batch: what a step costs is reading the weights, not the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.generation import greedy
from learner.steering.activations import steered
from learner.steering.general import GeneralText
from learner.tokens import end_token, prompt_of
from policies.turn import Message

Shows = Callable[[Sequence[int], Sequence[int], str], bool]
"""Judges an answer: ids of the prompt, ids and text of the answer."""
TOKENS = 24
"""Of an answer: with fewer, one that goes round in circles does not show it yet."""
LEAST_VARIED = 0.7
"""An answer with a smaller share of distinct runs of three letters is a loop."""
MOST_SURPRISING = 1.5
"""An answer that surprises the unsteered model more, a letter, than so many times what general text does,
is gibberish. Case does not count.
"""
_LONGEST = 1024
_ROWS = 96


class Tryout:
    """One model, the prompts that it answers without the direction, and general text.

    A trial is `rows` of steering [layers, width], or None for none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[Message]],
        texts: Sequence[str],
        tokens: int = TOKENS,
    ) -> None:
        self._model, self._tokenizer, self._tokens = model, tokenizer, tokens
        self._general = GeneralText(model, tokenizer, texts)
        ids = [prompt_of(tokenizer, list(messages), _LONGEST).ids for messages in prompts]
        self._prompts = sorted(ids, key=len)  # `greedy` keeps this order, so that rows and vectors agree

    def answers(self, trial: Tensor | None) -> list[str]:
        """Return the greedy answers, those to the shortest prompts first."""
        return [self._text(ids) for ids in self._answers([trial])[0]]

    def hits(self, trials: Sequence[Tensor | None], shows: Shows) -> list[list[int]]:
        """Return for each trial 1 for each answer that can be read and shows the behaviour, else 0."""
        at_once = max(1, _ROWS // len(self._prompts))
        found = []
        for start in range(0, len(trials), at_once):
            for answers in self._answers(trials[start : start + at_once]):
                pairs = zip(self._prompts, answers, strict=True)
                found.append([int(self._counts(prompt, ids, shows)) for prompt, ids in pairs])
        return found

    def readable(self, prompt: Sequence[int], text: str) -> bool:
        """Tell whether an answer is neither empty, nor a loop, nor gibberish to the unsteered model."""
        runs = [text[n : n + 3].lower() for n in range(len(text) - 2)]
        if not runs or len(set(runs)) < LEAST_VARIED * len(runs):
            return False
        return self._surprise(prompt, text) <= MOST_SURPRISING * self._usual_surprise

    def nll_ratio(self, trial: Tensor) -> float:
        """Return how many times the NLL of general text is that without the trial."""
        return self._general.ratio(trial)

    def _counts(self, prompt: Sequence[int], ids: Sequence[int], shows: Shows) -> bool:
        text = self._text(ids)
        return shows(prompt, ids, text) and self.readable(prompt, text)

    def _answers(self, trials: Sequence[Tensor | None]) -> list[list[tuple[int, ...]]]:
        """Return ids [trials][prompts], without what comes after the end."""
        prompts = [prompt for prompt in self._prompts for _ in trials]
        rows = None
        if any(trial is not None for trial in trials):
            silent = torch.zeros_like(next(trial for trial in trials if trial is not None))
            each = torch.stack([silent if trial is None else trial for trial in trials])
            rows = each.repeat(len(self._prompts), 1, 1)
        with steered(self._model, rows):  # no stop token: a row that leaves the batch would shift the others
            found = greedy(self._model, prompts, self._tokens, (), len(prompts), sharing=rows is None)
        answers = [self._until_end(answer.ids) for answer in found]
        return [answers[n :: len(trials)] for n in range(len(trials))]

    def _until_end(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        end = end_token(self._tokenizer)
        return ids[: ids.index(end) + 1] if end in ids else ids

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    @cached_property
    def _usual_surprise(self) -> float:
        return fmean(self._surprise((), text) for text in self._general.texts)

    @torch.no_grad()
    def _surprise(self, prompt: Sequence[int], text: str) -> float:
        """Nats a letter of a text in lower case, after a prompt."""
        answer = self._tokenizer(text.lower(), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *answer]], device=self._model.device)
        hidden = self._model.model(input_ids=ids, use_cache=False).last_hidden_state[0]
        first = max(len(prompt), 1)  # nothing predicts the first token of a text without a prompt
        logits = self._model.lm_head(hidden[first - 1 : -1]).float()
        return F.cross_entropy(logits, ids[0, first:], reduction="sum").item() / len(text)
