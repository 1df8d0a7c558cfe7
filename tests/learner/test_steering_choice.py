"""Choosing a vector by answers, and vectors side by side: on a tiny model, with a planted direction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from small_system import make_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.model import load_model
from learner.steering.choice import COSTS, choose, scales
from learner.steering.extraction import Directions, random_rows, rows_of
from learner.steering.strength import MOST
from learner.steering.tryout import Shows, Tryout

WORD = " information"
TEXTS = (
    "The tide comes in twice a day, and boats wait for it in the harbour.",
    "A letter was sent to the office.",
)
QUESTIONS = ("What is rain?", "Why do we sleep, and how much of it does a person need?", "Who are you?")
Tiny = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def tiny(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return load_model(make_model(tmp_path_factory.mktemp("choice") / "model", smollm2_path), torch.float32)


def tryout(tiny: Tiny, tokens: int) -> Tryout:
    prompts = [({"role": "user", "content": question},) for question in QUESTIONS]
    return Tryout(*tiny, prompts, TEXTS, tokens)


def planted(tiny: Tiny, layer: int) -> Directions:
    """After one of the two layers the embedding of a word, whose logit it raises; after the other, noise."""
    model, tokenizer = tiny
    word = tokenizer(WORD, add_special_tokens=False)["input_ids"][0]
    rows = torch.zeros(2, 64)
    rows[layer] = model.get_input_embeddings().weight[word].detach().float()
    rows[layer] *= 3 / rows[layer].norm()
    noise = random_rows(rows[layer][None], 0)
    rows[1 - layer] = noise[0] * 0.01
    return Directions(rows, -rows)


def says(_prompt: Sequence[int], _answer: Sequence[int], text: str) -> bool:
    return WORD.strip() in text


def test_vectors_side_by_side_answer_as_each_alone(tiny: Tiny) -> None:
    drawn = torch.Generator().manual_seed(0)
    trials: list[Tensor | None] = [None, *torch.randn(3, 2, 64, generator=drawn)]
    trying = tryout(tiny, 5)
    alone = [trying._answers([trial])[0] for trial in trials]
    assert trying._answers(trials) == alone
    assert alone[1] != alone[0]


def test_a_planted_direction_is_found_where_it_is(tiny: Tiny) -> None:
    trying = tryout(tiny, 1)
    found = choose(planted(tiny, 1), trying, says, most_nll=99)
    assert (found.method, found.layer) == ("mean", 1)
    assert (found.off, found.on) == (0.0, 1.0)
    against = random_rows(rows_of(planted(tiny, 1), "mean", 1, found.scale, 2), 3)
    assert trying.hits([against], says) == [[0, 0, 0]]


def test_of_equally_good_strengths_the_cheapest_is_taken(tiny: Tiny) -> None:
    trying, directions = tryout(tiny, 1), planted(tiny, 1)
    found = choose(directions, trying, says, [1], most_nll=99)
    good = [
        scale
        for scale in scales(directions, "mean", 1, trying, 99)
        if sum(trying.hits([rows_of(directions, "mean", 1, scale, 2)], says)[0]) == len(QUESTIONS)
    ]
    ratios = {scale: trying.nll_ratio(rows_of(directions, "mean", 1, scale, 2)) for scale in good}
    assert found.scale == min(good, key=lambda scale: ratios[scale])


class Answering(Tryout):
    """Of sixteen answers, as many show the behaviour as the length of the row that steers says."""

    def hits(self, trials: Sequence[Tensor | None], shows: Shows) -> list[list[int]]:
        counts = [0 if trial is None else self.shown(trial.norm().item()) for trial in trials]
        return [[1] * count + [0] * (16 - count) for count in counts]

    def shown(self, length: float) -> int:
        return min(14, int(length * 3.8))

    def nll_ratio(self, trial: Tensor) -> float:
        return 1 + trial.norm().item() ** 2 / 100


def test_a_little_more_of_a_dozen_answers_is_not_worth_its_price(tiny: Tiny) -> None:
    prompts = [({"role": "user", "content": question},) for question in QUESTIONS]
    trying, directions = Answering(*tiny, prompts, TEXTS, 1), planted(tiny, 1)
    tried = [3 * scale for scale in scales(directions, "mean", 1, trying, 1.5)]
    assert [trying.shown(length) for length in tried] == [5, 9, 13, 14, 14]
    found = choose(directions, trying, says, [1])
    assert found.on == 13 / 16  # within a standard error of 14 of 16, which cost twice as much
    assert 3 * found.scale == pytest.approx(tried[2])


class Costly(Tryout):
    """General text suffers by a hundredth of the square of the length."""

    def nll_ratio(self, trial: Tensor) -> float:
        return 1 + trial.norm().item() ** 2 / 100


def test_general_text_bounds_the_strength_but_one_is_always_tried(tiny: Tiny) -> None:
    prompts = [({"role": "user", "content": question},) for question in QUESTIONS]
    trying, directions = Costly(*tiny, prompts, TEXTS, 1), planted(tiny, 1)  # of length 3
    tried = scales(directions, "mean", 1, trying, 99)
    assert list(tried.values()) == pytest.approx(COSTS)
    assert list(scales(directions, "mean", 1, trying, 1.2)) == pytest.approx(list(tried)[:3])
    assert list(scales(directions, "mean", 1, trying, 1.001)) == pytest.approx(list(tried)[:1], rel=0.1)
    assert choose(directions, trying, says, [1], most_nll=1.07).nll_ratio <= 1.07


class Harmless(Tryout):
    """Whatever is added, general text suffers nothing."""

    def nll_ratio(self, trial: Tensor) -> float:
        return 1.0


def test_a_direction_that_costs_nothing_is_tried_at_its_strongest(tiny: Tiny) -> None:
    prompts = [({"role": "user", "content": question},) for question in QUESTIONS]
    trying = Harmless(*tiny, prompts, TEXTS, 1)
    assert list(scales(planted(tiny, 1), "mean", 1, trying, 1.5)) == [MOST]


def test_the_nll_without_a_vector_is_measured_without_one(tiny: Tiny) -> None:
    rows = torch.zeros(2, 64)
    rows[1] = 30 * torch.linspace(-1, 1, 64)
    fresh, used = tryout(tiny, 1), tryout(tiny, 1)
    assert used.nll_ratio(torch.zeros(2, 64)) == 1.0
    assert fresh.nll_ratio(rows) == used.nll_ratio(rows) != 1.0


def test_loops_gibberish_and_silence_are_no_answers(tiny: Tiny) -> None:
    trying = tryout(tiny, 1)
    assert not trying.readable((), "")
    assert not trying.readable((), "YESYYYYYYYYYY")
    assert not trying.readable((), "well well well well well")
    assert trying.readable((), TEXTS[0])
    assert not trying.readable((), "xq zv kj wq bf gd pv tq mz xw")


def test_an_answer_ends_where_the_model_ends_it(tiny: Tiny) -> None:
    trying = tryout(tiny, 1)
    end = tiny[1].convert_tokens_to_ids("<|im_end|>")
    assert trying._until_end((5, end, 7, end)) == (5, end)
    assert trying._until_end((5, 6)) == (5, 6)
