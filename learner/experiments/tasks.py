"""Tasks that are never trained on: a question and four answers, of which the model finds one likeliest.

Multiple choice and code-like items are written for this; arithmetic is generated. None is a question that is
corrected, replayed or probed (tested).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from importlib.resources import files

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.frozen import frozen_hidden
from learner.tokens import build_row, prompt_of

KINDS = ("choice", "arithmetic", "code")
_ARITHMETIC = 120
_LONGEST_PROMPT = 512
_LONGEST_ANSWER = 48
_ROWS = 48


class Task(BaseModel):
    """A question, its right answer and three wrong ones."""

    model_config = ConfigDict(frozen=True)

    question: str
    right: str
    wrong: tuple[str, str, str]


def load_tasks(kind: str) -> list[Task]:
    """Return the tasks of one kind: `choice`, `arithmetic` or `code`."""
    if kind == "arithmetic":
        return _arithmetic()
    text = files("learner.experiments").joinpath("data", f"{kind}.json").read_text()
    return [Task.model_validate(item) for item in json.loads(text)]


def _arithmetic() -> list[Task]:
    """Generate sums, differences and products of one step, the same ones always."""
    draw = random.Random("arithmetic")
    found: dict[str, Task] = {}
    while len(found) < _ARITHMETIC:
        sign = "+-*"[len(found) % 3]
        most = 12 if sign == "*" else 49  # enough pairs that differ
        a, b = sorted((draw.randint(3, most), draw.randint(3, most)), reverse=True)
        right = {"+": a + b, "-": a - b, "*": a * b}[sign]
        near = [right + by for by in (-10, -2, -1, 1, 2, 10) if right + by >= 0]
        wrong = draw.sample(near, 3)
        question = f"Work out {a} {sign} {b}."
        found[question] = Task(
            question=question, right=str(right), wrong=(str(wrong[0]), str(wrong[1]), str(wrong[2]))
        )
    return list(found.values())


@torch.no_grad()
def leads(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[Task]) -> list[float]:
    """Return by how much the right answer leads the likeliest wrong one, in nats a token; above 0: right."""
    rows = []
    for task in tasks:
        prompt = prompt_of(tokenizer, [{"role": "user", "content": task.question}], _LONGEST_PROMPT)
        for answer in (task.right, *task.wrong):
            ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
            rows.append(build_row("task", "general", prompt, ids, None, _LONGEST_ANSWER))
    scores: list[float] = []
    for start in range(0, len(rows), _ROWS):
        batch = rows[start : start + _ROWS]
        hidden = frozen_hidden(model, batch)
        logs = F.log_softmax(model.lm_head(hidden.states).float(), -1)
        likely = logs.gather(1, hidden.labels[:, None])[:, 0]
        scores += [likely[hidden.row == index].mean().item() for index in range(len(batch))]
    fours = [scores[start : start + 4] for start in range(0, len(scores), 4)]
    return [four[0] - max(four[1:]) for four in fours]
