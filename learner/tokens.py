"""From chat messages and answers to token ids, and to the rows that the learner trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from transformers import PreTrainedTokenizerBase

from policies.errors import InputError
from policies.turn import Message

RowKind = Literal["correction", "twin", "general"]
_BEFORE = 4
"""A window is cut so that one token in four of it stands before the first deviation."""


@dataclass(frozen=True)
class Row:
    """One training row in token ids.

    `context` is frozen. `lead` has a gradient but no label: the assistant header, so that the first
    answer token is learnt too. `answer` is labelled. `deviates` marks the answer tokens that are not in
    the alignment with the other answer; at `first` the two part, where the other has token `against`.
    `other` is the same window of the other answer, `hint` the context in which a teacher answers, `unwanted`
    an answer to leave.
    """

    example_id: str
    kind: RowKind
    context: tuple[int, ...]
    lead: tuple[int, ...]
    answer: tuple[int, ...]
    deviates: tuple[bool, ...]
    first: int | None = None
    against: int | None = None
    weight: float = 1.0
    other: tuple[int, ...] = ()
    hint: tuple[int, ...] = ()
    unwanted: bool = False


@dataclass(frozen=True)
class Prompt:
    """A conversation up to the answer: frozen ids, then the assistant header."""

    context: tuple[int, ...]
    header: tuple[int, ...]

    @property
    def ids(self) -> list[int]:
        """Return what a server would be given."""
        return [*self.context, *self.header]


def prompt_of(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], longest: int, keep: str | None = None
) -> Prompt:
    """Render `messages`; a prompt over `longest` tokens loses its oldest turns.

    System turns, the last turn and turns that contain `keep` (the direction) stay. Raises InputError
    where that is still too long.
    """
    kept = list(messages)
    while True:
        prompt = _render(tokenizer, kept)
        length = len(prompt.ids)
        if length <= longest:
            return prompt
        droppable = [i for i, message in enumerate(kept[:-1]) if not _must_stay(message, keep)]
        if not droppable:
            raise InputError(
                f"context of {length} tokens cannot be cut to {longest}: raise max_context_tokens"
            )
        del kept[droppable[0]]


def _must_stay(message: Message, keep: str | None) -> bool:
    if message["role"] in ("system", "developer"):
        return True
    return keep is not None and keep in (message.get("content") or "")


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> Prompt:
    """Split the ids where those with the assistant header leave those without it."""
    bare, full = (
        tokenizer(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=header),
            add_special_tokens=False,
        )["input_ids"]
        for header in (False, True)
    )
    split = next(
        (i for i, (a, b) in enumerate(zip(bare, full, strict=False)) if a != b), min(len(bare), len(full))
    )
    split = min(split, len(full) - 1)
    return Prompt(tuple(full[:split]), tuple(full[split:]))


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that closes an assistant turn in the chat template."""
    mark = "heedloop"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    tail = tokenizer(text[text.rindex(mark) + len(mark) :], add_special_tokens=False)["input_ids"]
    if tail and tail[0] in tokenizer.all_special_ids:
        return int(tail[0])
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-turn token: neither in its chat template nor as eos_token"
        )
    return int(tokenizer.eos_token_id)


def answer_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a whole answer with the token that ends it."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], end_token(tokenizer)]


def decisions_of(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], longest: int
) -> list[tuple[Prompt, list[int]]]:
    """Return every assistant turn of a conversation: what a server was given for it, and the ids of the turn.

    Tool calls are written as the chat template writes them. Each context is rendered as of its own turn; what
    those have in common the context-frozen pass computes once. Raises InputError where the template neither
    marks assistant turns nor continues its own prompt.
    """
    return [
        (prompt_of(tokenizer, messages[:i], longest), _turn_ids(tokenizer, messages[: i + 1]))
        for i, message in enumerate(messages)
        if message["role"] == "assistant" and i
    ]


def _turn_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Return the ids of the last turn with the token that ends it."""
    ids = _marked(tokenizer, messages)
    if ids is None:
        prompt = tokenizer.apply_chat_template(
            list(messages[:-1]), tokenize=False, add_generation_prompt=True
        )
        text = tokenizer.apply_chat_template(list(messages), tokenize=False)
        if not text.startswith(prompt):
            raise InputError(
                "the chat template has no generation marks, and renders an answered prompt unlike an open"
                " one: the turn cannot be told from its context"
            )
        ids = tokenizer(text[len(prompt) :], add_special_tokens=False)["input_ids"]
    end = end_token(tokenizer)
    return [*ids[: ids.index(end)], end] if end in ids else [*ids, end]


def _marked(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int] | None:
    """Return what the template marks as generated in the last turn; None if it has no marks."""
    if "{% generation" not in str(tokenizer.chat_template).replace("{%-", "{%"):
        return None
    rendered = tokenizer.apply_chat_template(
        list(messages), return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = rendered["input_ids"], rendered["assistant_masks"]
    end = len(mask) - mask[::-1].index(1)
    start = next((i for i in range(end, 0, -1) if not mask[i - 1]), 0)
    return list(ids[start:end])


def deviation(answer: Sequence[int], other: Sequence[int]) -> tuple[list[bool], int | None]:
    """Mark the tokens of `answer` outside its alignment with `other`; return also where they part.

    That index is None if one answer is the beginning of the other; else its token is always marked.
    """
    marks = [True] * len(answer)
    for block in SequenceMatcher(None, answer, other, autojunk=False).get_matching_blocks():
        marks[block.a : block.a + block.size] = [False] * block.size
    first = next((i for i, (a, b) in enumerate(zip(answer, other, strict=False)) if a != b), None)
    if first is not None:
        marks[first] = True
    return marks, first


def build_row(
    example_id: str,
    kind: RowKind,
    prompt: Prompt,
    answer: Sequence[int],
    other: Sequence[int] | None,
    longest: int,
    weight: float = 1.0,
    hint: Prompt | None = None,
) -> Row:
    """Make a row whose answer has at most `longest` labelled tokens.

    The labelled window is the beginning of the answer. Where the answers part only after it, it moves:
    a quarter of it stands before the first deviation, and the answer before it joins the frozen context.
    """
    if not answer:
        raise InputError(f"example {example_id}: the answer is empty")
    marks, first = deviation(answer, other) if other is not None else ([False] * len(answer), None)
    start = 0 if first is None or first < longest else min(first - longest // _BEFORE, len(answer) - longest)
    lead = prompt.header if start == 0 else (answer[start - 1],)
    shown = [p.context if start == 0 else (*p.ids, *answer[: start - 1]) for p in (prompt, hint) if p]
    return Row(
        example_id=example_id,
        kind=kind,
        context=tuple(shown[0]),
        lead=tuple(lead),
        answer=tuple(answer[start : start + longest]),
        deviates=tuple(marks[start : start + longest]),
        first=None if first is None else first - start,
        against=None if first is None or other is None else other[first],
        weight=weight,
        other=() if other is None else tuple(other[start : start + longest]),
        hint=() if hint is None else tuple(shown[1]),
    )
