"""Tasks for transfer: well formed, never trained on or probed, and scored as a plain pass scores them."""

import re
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F

from learner.experiments.tasks import KINDS, leads, load_tasks
from learner.model import load_model
from learner.probing.material import load_material
from learner.tokens import prompt_of
from store.questions import load_questions


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9+*-]+", " ", text.lower()).strip()


@pytest.mark.parametrize(("kind", "fewest"), [("choice", 100), ("arithmetic", 100), ("code", 60)])
def test_there_are_enough_and_their_answers_differ(kind: str, fewest: int) -> None:
    tasks = load_tasks(kind)
    assert len({task.question for task in tasks}) == len(tasks) >= fewest
    assert all(len({task.right, *task.wrong}) == 4 for task in tasks)


def test_no_task_is_corrected_replayed_or_probed() -> None:
    asked, replayed = load_questions(), files("learner").joinpath("replay_prompts.txt").read_text()
    known = (*asked.train, *asked.held_out, *asked.load, *load_material().asked, *replayed.splitlines())
    tasks = {plain(task.question) for kind in KINDS for task in load_tasks(kind)}
    assert not tasks & {plain(question) for question in known}


def test_arithmetic_is_right() -> None:
    for task in load_tasks("arithmetic"):
        found = re.fullmatch(r"Work out (\d+) ([-+*]) (\d+)\.", task.question)
        assert found, task.question
        a, b = int(found[1]), int(found[3])
        assert int(task.right) == {"+": a + b, "-": a - b, "*": a * b}[found[2]]


def test_code_that_is_right_is_python() -> None:
    for task in load_tasks("code"):
        head = task.question.splitlines()[1]
        for answer in (task.right, *task.wrong):
            compile(f"{head}\n    {answer}\n", "task", "exec")


@torch.no_grad()
def test_a_lead_is_the_difference_of_mean_log_likelihoods(tiny_qwen35_path) -> None:
    model, tokenizer = load_model(tiny_qwen35_path, torch.float32)
    tasks = load_tasks("choice")[:3]
    for task, lead in zip(tasks, leads(model, tokenizer, tasks), strict=True):
        prompt = list(prompt_of(tokenizer, [{"role": "user", "content": task.question}], 512).ids)
        scores = []
        for answer in (task.right, *task.wrong):
            ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
            logs = F.log_softmax(model(torch.tensor([prompt + ids])).logits[0].float(), -1)
            places = range(len(prompt) - 1, len(prompt) + len(ids) - 1)
            scores.append(sum(float(logs[p, i]) for p, i in zip(places, ids, strict=True)) / len(ids))
        assert lead == pytest.approx(scores[0] - max(scores[1:]), abs=1e-3)
