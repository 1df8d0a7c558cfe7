"""The rows that a trainer learns: built of examples once, with the log-probabilities of the base beside them.

Both cost passes of the base model, so they are kept, made ahead of time, and dropped with their examples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.generation import greedy
from learner.objectives import Objective, Want, answer_states, log_probs, log_probs_of
from learner.rehearsing import few_shot
from learner.tokens import Prompt, Row, answer_ids, build_row, end_token, prompt_of
from policies.config import TrainingConfig
from policies.errors import InputError
from policies.example import Example
from policies.twins import stands

TwinAnswers = MutableMapping[tuple[int, ...], tuple[int, ...]]
"""What the base answers to twins, as ids, by the ids of the prompt."""

_BATCH = 16
"""Rows or prompts in one pass of the base model."""


class RowBook:
    """Builds, keeps, warms and forgets rows of `objective`; `base` is the frozen reference of `model`.

    `kept_references` bounds the rows whose references stay in memory; `twin_answers` are shared. What is
    wanted of the whole vocabulary of the base stays there as what its lm_head gets, in a hundredth of the
    room; lm_head is applied when it is asked for.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        base: PreTrainedModel,
        config: TrainingConfig,
        objective: Objective,
        kept_references: int,
        twin_answers: TwinAnswers | None,
    ) -> None:
        self._model, self._tokenizer, self._base, self._config = model, tokenizer, base, config
        self._objective = objective
        self._end = end_token(tokenizer)
        self._rows: dict[str, tuple[Row, ...]] = {}
        self._references: OrderedDict[Want, Tensor] = OrderedDict()
        self._kept_references = kept_references
        self._twin_answers = twin_answers

    @property
    def example_ids(self) -> frozenset[str]:
        """The examples whose rows are in memory."""
        return frozenset(self._rows)

    @property
    def references(self) -> Mapping[Want, Tensor]:
        """What is in memory, the longest unused first: states [T, H] of the base, else log-probabilities."""
        return MappingProxyType(self._references)

    def rows_for(self, example: Example) -> tuple[Row, ...]:
        """Return the rows of an example: correction and, where there is one, its twin; or one general row.

        Raises InputError where the example cannot be trained on; the message names it.
        """
        if example.id not in self._rows:
            self.prepare([example])
        return self._rows[example.id]

    def prepare(self, examples: Sequence[Example]) -> None:
        """Build the rows of many examples: the base model answers all their twin contexts in one go.

        Worth calling ahead of time, as `warm` is. Raises InputError as `rows_for`, after all others are done.
        """
        failed: list[InputError] = []
        twins: list[tuple[Example, Prompt]] = []
        for example in examples:
            if example.id in self._rows:
                continue
            try:
                self._rows[example.id] = (self._own_row(example),)
                if example.twin_context is not None and self._keeps_twin(example):
                    twins.append((example, self._prompt(example, example.twin_context)))
            except InputError as error:
                self._rows.pop(example.id, None)
                failed.append(error)
        self._add_twins(twins)
        if failed:
            raise failed[0]

    def _own_row(self, example: Example) -> Row:
        corrects = example.kind == "correction"
        chosen, other = example.chosen, example.rejected if corrects else None
        unwanted = corrects and self._objective.unpaired and not chosen
        if not chosen and not unwanted:
            raise InputError(f"example {example.id} has no chosen answer to learn")
        hint = None
        if corrects and self._objective.hints:
            hint = self._prompt(example, few_shot(example.context, [example]))
            chosen, other = other, chosen
        if unwanted:
            chosen, other = other, None
        if not chosen:
            raise InputError(f"example {example.id} has no rejected answer, which the objective learns from")
        row = build_row(
            example.id,
            example.kind,
            self._prompt(example, self._context(example)),
            answer_ids(self._tokenizer, chosen),
            answer_ids(self._tokenizer, other) if other is not None else None,
            self._config.max_decision_tokens if corrects else self._config.max_replay_tokens,
            example.weight,
            hint,
        )
        return replace(row, unwanted=unwanted)

    def _context(self, example: Example) -> Sequence[dict[str, object]]:
        stripped = self._is_stripped(example) and example.twin_context
        return example.twin_context or () if stripped else example.context

    def _prompt(self, example: Example, messages: Sequence[dict[str, object]]) -> Prompt:
        try:
            longest = self._config.max_context_tokens
            return prompt_of(self._tokenizer, messages, longest, keep=example.direction)
        except InputError as error:
            raise InputError(f"example {example.id}: {error}") from error

    def _add_twins(self, twins: Sequence[tuple[Example, Prompt]]) -> None:
        """Let the base model answer; its states on the way are the twins' references.

        Where answers are shared they are not taken: `warm` rounds otherwise, and a trainer that found the
        answer must learn the same as one that asked for it.
        """
        longest, shared = self._config.max_replay_tokens, self._twin_answers
        known = {} if shared is None else shared
        prompts = [prompt.ids for _, prompt in twins if tuple(prompt.ids) not in known]
        answers = greedy(self._base, prompts, longest, {self._end}, _BATCH, with_states=shared is None)
        known.update((tuple(ids), answer.ids) for ids, answer in zip(prompts, answers, strict=True))
        states = {tuple(ids): answer.states for ids, answer in zip(prompts, answers, strict=True)}
        for example, prompt in twins:
            ids, chosen = tuple(prompt.ids), answer_ids(self._tokenizer, example.chosen or "")
            row = build_row(example.id, "twin", prompt, known[ids], chosen, longest, example.weight)
            self._rows[example.id] += (row,)
            if (reference := states.get(ids)) is not None:
                self._remember(Want(row), reference)

    def warm(self, rows: Sequence[Row], most: int | None = None) -> None:
        """Compute the references that are not in memory yet, of `most` rows at once."""
        missing: list[Want] = []
        wants = self._wants(rows)
        for want in wants:
            if want in self._references:
                self._references.move_to_end(want)
            else:
                missing.append(want)
        missing = sorted(missing[:most], key=lambda w: (w.own, w.whole, w.row.context))
        for (own, whole), found in groupby(missing, key=lambda w: (w.own, w.whole)):
            alike = list(found)  # sorted: a shared beginning is computed once
            for start in range(0, len(alike), _BATCH):
                batch = alike[start : start + _BATCH]
                references = self._computed([want.row for want in batch], whole=whole, own=own)
                for want, reference in zip(batch, references, strict=True):
                    self._remember(want, reference, room=len(wants))

    def _computed(self, rows: Sequence[Row], *, whole: bool, own: bool) -> list[Tensor]:
        if whole and not own:
            return answer_states(self._base, rows)
        return log_probs(self._model if own else self._base, rows, whole)

    def _keeps_twin(self, example: Example) -> bool:
        return example.kind == "correction" and (self._objective.twins or not self._is_stripped(example))

    def _is_stripped(self, example: Example) -> bool:
        direction = example.direction
        return (
            self._objective.strips
            and example.kind == "correction"
            and direction is not None
            and stands(example.context, direction)
        )

    def _wants(self, rows: Sequence[Row]) -> list[Want]:
        wanted = (self._objective.want(part) for row in rows for part in self._objective.parts(row))
        return list(dict.fromkeys(want for want in wanted if want is not None))

    def _remember(self, want: Want, reference: Tensor, room: int = 0) -> None:
        """Keep a reference; the longest unused ones go, but `room` of them always stay."""
        self._references[want] = reference
        while len(self._references) > max(self._kept_references, room):
            self._references.popitem(last=False)

    def forget(self, example_id: str) -> None:
        """Drop the rows of an example that will not be trained on again."""
        for want in self._wants(self._rows.pop(example_id, ())):
            self._references.pop(want, None)

    def keep_only(self, example_ids: Collection[str]) -> None:
        """Drop the rows of all other examples; rows that are asked for again are made again."""
        for example_id in self.example_ids.difference(example_ids):
            self.forget(example_id)

    def forget_own(self) -> None:
        """Drop the log-probabilities of the trained model: its weights were replaced."""
        self._references = OrderedDict((w, kept) for w, kept in self._references.items() if not w.own)

    def reference(self, part: Row) -> Tensor | None:
        """Return the log-probabilities that the loss of a warm row needs, None where it needs none."""
        want = self._objective.want(part)
        if want is None:
            return None
        kept = self._references[want]
        return log_probs_of(self._base, kept) if want.whole and not want.own else kept
